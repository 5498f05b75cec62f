"""The released schemas: the .avsc files, every earlier version of them, and the lock of their ids.

`history/<Record>/<n>.avsc` is version n as it was released; `registry.lock.json` gives each version
its id, under every subject that carries it. Both only ever grow.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from crewstream.contracts.avsc import Schema, read_avsc, sha256
from crewstream.contracts.shipped import shipped
from crewstream.errors import SchemaConflict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

LOCK = "registry.lock.json"
HISTORY = "history"
FIRST_ID = 1001


@dataclass(frozen=True, slots=True)
class Released:
    """A version of a record's schema that was released under an id."""

    id: int
    record: str
    version: int
    sha256: str
    schema: Schema = field(repr=False)


@dataclass(frozen=True, slots=True)
class Schemas:
    """What is in `schemas/avro`; `subjects` are written with the templates of topics.yaml."""

    current: Mapping[str, Schema] = field(repr=False)
    history: Mapping[str, Sequence[Schema]] = field(repr=False)
    by_id: Mapping[int, Released] = field(repr=False)
    subjects: Mapping[str, Sequence[Released]]

    @classmethod
    def load(cls, avro: Path | None = None) -> Schemas:
        """Read `schemas/avro`, the shipped one unless told otherwise.

        Raises SchemaConflict when the lock names a version that is not in the history.
        """
        avro = avro or shipped() / "schemas" / "avro"
        history = read_history(avro)
        subjects = {
            subject: tuple(_released(subject, int(n), entry, history) for n, entry in found.items())
            for subject, found in read_lock(avro).items()
        }
        by_id = {version.id: version for found in subjects.values() for version in found}
        return cls(read_avsc(avro), history, by_id, subjects)

    def id_of(self, record: str) -> int:
        """The id that events of this record are written with.

        Raises SchemaConflict when the .avsc is not the newest released version.
        """
        released = [version for version in self.by_id.values() if version.record == record]
        newest = max(released, key=lambda version: version.version, default=None)
        if newest is None or newest.schema != self.current.get(record):
            raise SchemaConflict(
                f"{record}.avsc is not the newest version in {LOCK}; run `crewstream schemas lock`",
            )
        return newest.id


def read_history(avro: Path) -> dict[str, tuple[Schema, ...]]:
    """Record name -> its released schemas, version 1 first.

    Raises SchemaConflict when the versions of a record are not 1..n.
    """
    return {folder.name: _versions(folder) for folder in sorted((avro / HISTORY).glob("*/"))}


def read_lock(avro: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Subject -> version -> {id, record, sha256}; empty when there is no lock yet."""
    path = avro / LOCK
    found: dict[str, dict[str, dict[str, Any]]] = {}
    return json.loads(path.read_bytes())["subjects"] if path.exists() else found


def _versions(folder: Path) -> tuple[Schema, ...]:
    found = {int(path.stem): json.loads(path.read_bytes()) for path in folder.glob("*.avsc")}
    if sorted(found) != list(range(1, len(found) + 1)):
        raise SchemaConflict(f"{folder} holds versions {sorted(found)}; they must be 1..n")
    return tuple(found[n] for n in sorted(found))


def _released(
    subject: str,
    version: int,
    entry: Mapping[str, Any],
    history: Mapping[str, Sequence[Schema]],
) -> Released:
    versions = history.get(entry["record"], ())
    if version > len(versions):
        raise SchemaConflict(
            f"{LOCK} names version {version} of {subject}, but {HISTORY}/{entry['record']}"
            f"/{version}.avsc is not there",
        )
    schema = versions[version - 1]
    if sha256(schema) != entry["sha256"]:
        raise SchemaConflict(
            f"{HISTORY}/{entry['record']}/{version}.avsc is not what was locked as id"
            f" {entry['id']}; released versions never change: restore it",
        )
    return Released(entry["id"], entry["record"], version, entry["sha256"], schema)
