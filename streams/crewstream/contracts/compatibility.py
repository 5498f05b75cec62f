"""Whether readers and writers of two versions of a schema understand each other, as Apache sees it.

Sole importer of avro, whose checker agrees with the Java one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
from avro.errors import AvroException
from avro.schema import parse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from crewstream.contracts.avsc import Schema
    from crewstream.contracts.schemas import Schemas

FULL = "FULL_TRANSITIVE"


def incompatibilities(schemas: Schemas, modes: Mapping[str, str]) -> list[str]:
    """What every current schema breaks with its released versions; empty when nothing.

    `modes` is record -> BACKWARD_TRANSITIVE (the new schema reads every old event) or
    FULL_TRANSITIVE (and the old ones read the new event), see `Topics.modes`.
    """
    return [
        found
        for record, mode in modes.items()
        for found in incompatible(
            schemas.current[record], schemas.history.get(record, ()), full=mode == FULL
        )
    ]


def incompatible(new: Schema, released: Sequence[Schema], *, full: bool) -> list[str]:
    """What the new schema breaks with each released version of the same record."""
    found = []
    for number, old in enumerate(released, 1):
        name = f"{new['name']} version {number}"
        found += [f"new schema cannot read {name}: {why}" for why in cannot_read(new, old)]
        if full:
            found += [f"{name} cannot read the new schema: {why}" for why in cannot_read(old, new)]
    return found


def cannot_read(reader: Schema, writer: Schema) -> list[str]:
    """Why a reader's schema cannot read what a writer's wrote; empty when it can."""
    try:
        schemas = parse(json.dumps(reader)), parse(json.dumps(writer))
    except AvroException as error:
        return [f"no valid Avro: {error}"]
    checker = ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]  # untyped in avro
    result = checker.get_compatibility(*schemas)
    if result.compatibility is SchemaCompatibilityType.compatible:
        return []
    where = sorted(result.locations - {"/"}) or ["/"]
    return [f"{', '.join(where)}: {', '.join(sorted(result.messages))}"]
