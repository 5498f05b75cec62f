"""What is in a backup: versions, files with their hashes, where every reader was.

It is written last, and in one step: a folder without one is no backup.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from crewstream.contracts import archive
from crewstream.errors import Invalid

NAME = "manifest.json"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class File(_Strict):
    """A file of the backup; `path` is within its folder."""

    path: str
    entries: int
    bytes: int
    sha256: str


class Partition(File):
    """A partition's records from offset `start` up to `end`, which is not in it."""

    topic: str
    partition: int
    start: int
    end: int


class Position(_Strict):
    """The next record that a consumer group will read of a partition."""

    group: str
    topic: str
    partition: int
    offset: int


class Manifest(_Strict):
    """A whole backup. `topics` is how many partitions each had."""

    format: Literal[1] = 1
    crewstream: str
    prefix: str
    cluster: str
    began_at: datetime
    ended_at: datetime
    topics: Mapping[str, int]
    partitions: tuple[Partition, ...]
    positions: tuple[Position, ...]
    keys: File

    @property
    def files(self) -> tuple[File, ...]:
        """Every file beside this one."""
        return (*self.partitions, self.keys)


def write(folder: Path, manifest: Manifest) -> None:
    """Make the folder a backup. Its other files are on disk before this one gets its name."""
    for file in manifest.files:
        _to_disk(folder / file.path)
    part = folder / f"{NAME}.part"
    part.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    _to_disk(part)
    part.rename(folder / NAME)
    _to_disk(folder)


def read(folder: Path) -> Manifest:
    """The manifest of a backup. Raises Invalid: there is none, or another program wrote it."""
    try:
        text = (folder / NAME).read_text("utf-8")
        return Manifest.model_validate(json.loads(text))
    except OSError as error:
        raise Invalid(f"{folder} holds no whole backup: {NAME} cannot be read ({error})") from error
    except ValueError as error:
        raise Invalid(f"{folder / NAME} is no manifest that this version reads: {error}") from error


def verify(folder: Path, manifest: Manifest) -> None:
    """Compare every file with its hash. Raises Invalid, naming each that differs."""
    wrong = [
        each.path
        for each in manifest.files
        if not (folder / each.path).is_file() or archive.sha256(folder / each.path) != each.sha256
    ]
    if wrong:
        raise Invalid(f"the backup in {folder} is damaged: {', '.join(wrong)}; take another one")


def described(folder: Path, path: str, entries: int) -> File:
    """A finished file."""
    found = folder / path
    size, digest = found.stat().st_size, archive.sha256(found)
    return File(path=path, entries=entries, bytes=size, sha256=digest)


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
