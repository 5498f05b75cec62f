"""The password of the user `writer` of an embedded engine: a file beside the engine's folder.

Who may read the file could open the folder as well, so the key opens nothing more.
"""

from __future__ import annotations

import os
from pathlib import Path
from secrets import token_hex

WRITER = "writer"


def make(folder: str) -> str:
    """A new key for the engine of `folder`, kept there for as long as its process runs."""
    key, file = token_hex(32), _file(folder)
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f"{file.name}.new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(key)
    beside.replace(file)
    return key


def read(folder: str) -> str | None:
    """The key that was made last; None: there is none, or it is not ours to read."""
    try:
        return _file(folder).read_text("ascii")
    except OSError:
        return None


def _file(folder: str) -> Path:
    return Path(f"{os.path.realpath(folder)}.key")
