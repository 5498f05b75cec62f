"""Events of every kind, made up by hypothesis from the .avsc files."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import strategies as st

from crewstream.contracts import events
from crewstream.contracts.schemas import Schemas
from crewstream.contracts.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypothesis.strategies import SearchStrategy

    from crewstream.contracts.avsc import Schema
    from crewstream.contracts.record import Record

_PRIMITIVES: dict[str, SearchStrategy[Any]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "double": st.floats(allow_nan=False),
    "string": st.text(max_size=200),
    "bytes": st.binary(max_size=50),
}
_LOGICAL: dict[str, SearchStrategy[Any]] = {
    "timestamp-micros": st.datetimes(
        min_value=datetime(1, 1, 2),  # noqa: DTZ001 - hypothesis wants naive bounds
        max_value=datetime(9999, 12, 30),  # noqa: DTZ001
        timezones=st.just(UTC),
    ),
    # Not below zero: fastavro takes a byte more than Java and we do for some of those.
    "decimal": st.integers(0, 10**18 - 1).map(lambda n: Decimal(n).scaleb(-9)),
}


def datums(schema: Any, known: dict[str, Schema]) -> SearchStrategy[Any]:
    """Any value that a schema allows, as plain data."""
    if isinstance(schema, list):
        return st.one_of([datums(branch, known) for branch in schema])
    if isinstance(schema, str):
        return _PRIMITIVES[schema] if schema in _PRIMITIVES else datums(known[schema], known)
    if "logicalType" in schema:
        return _LOGICAL[schema["logicalType"]]
    return _named(schema, known) if "name" in schema else _collection(schema, known)


def _collection(schema: Schema, known: dict[str, Schema]) -> SearchStrategy[Any]:
    if schema["type"] == "array":
        return st.lists(datums(schema["items"], known), max_size=3)
    return st.dictionaries(st.text(max_size=9), datums(schema["values"], known), max_size=3)


def _named(schema: Schema, known: dict[str, Schema]) -> SearchStrategy[Any]:
    known[schema["name"]] = schema
    if schema["type"] == "enum":
        return st.sampled_from(schema["symbols"])
    fields = {field["name"]: datums(field["type"], known) for field in schema["fields"]}
    return st.fixed_dictionaries(fields)


def model_of(record: str) -> type[Record]:
    """The model that is named like a record."""
    model: type[Record] = getattr(events, record)
    return model


@pytest.fixture(scope="session")
def schemas() -> Schemas:
    return Schemas.load()


@pytest.fixture(scope="session")
def topics() -> Topics:
    return Topics.load()


@pytest.fixture(scope="session")
def any_event(schemas: Schemas) -> Callable[[str], SearchStrategy[Record]]:
    """Record name -> any event of that kind."""

    def strategy(record: str) -> SearchStrategy[Record]:
        return datums(schemas.current[record], {}).map(model_of(record).model_validate)

    return strategy
