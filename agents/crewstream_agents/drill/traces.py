"""Where the drill's tools leave a trace of what they did: one line a call, in one file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

FILE: Final = "DRILL_TRACES"
"""The environment variable that names the file; without it no trace is left."""

LOOKED_UP: Final = "looked up"
POSTED: Final = "posted"


def leave(kind: str, about: str, key: str, at_s: float) -> None:
    """Add a line: whole or not at all, whoever else writes and whenever we are killed."""
    name = os.environ.get(FILE)
    if not name:
        return
    line = json.dumps({"kind": kind, "about": about, "key": key, "at_s": at_s}) + "\n"
    file = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


def left() -> Sequence[dict[str, Any]]:
    """The traces that were left so far, by whichever process."""
    return read(Path(os.environ.get(FILE, os.devnull)))


def read(path: Path) -> Sequence[dict[str, Any]]:
    """Every trace, in order: `kind`, `about` (the argument), `key`, `at_s` (epoch)."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
