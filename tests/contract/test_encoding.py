"""The writer's edges: extreme values, and types that our events do without."""

from __future__ import annotations

import io
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewstream.contracts.encoding import encoder
from crewstream.errors import SchemaConflict

MONEY = {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 9}


@dataclass(frozen=True)
class Holder:
    it: Any


def schema_of(kind: Any) -> dict[str, Any]:
    return {"type": "record", "name": "Holder", "fields": [{"name": "it", "type": kind}]}


def read(kind: Any, data: bytes) -> Any:
    schema = fastavro.parse_schema(schema_of(kind))
    datum: Any = fastavro.schemaless_reader(io.BytesIO(data), schema, None)
    return datum["it"]


@given(value=st.integers(-(2**63), 2**63 - 1))
def test_every_long_is_read_back(value: int) -> None:
    assert read("long", encoder(schema_of("long"))(Holder(value))) == value


@given(number=st.integers(-(10**18) + 1, 10**18 - 1))
def test_every_amount_is_read_back_and_is_as_short_as_javas(number: int) -> None:
    amount = Decimal(number).scaleb(-9)
    data = encoder(schema_of(MONEY))(Holder(amount))
    assert read(MONEY, data) == amount
    assert len(data) == 1 + (~number if number < 0 else number).bit_length() // 8 + 1


def test_an_amount_may_be_written_in_any_way() -> None:
    for text in ("1", "1.0", "1.000000000000", "1E+3", "-0"):
        assert read(MONEY, encoder(schema_of(MONEY))(Holder(Decimal(text)))) == Decimal(text)


@pytest.mark.parametrize("value", [b"", b"\x00\xff", b"x" * 5000])
def test_bytes_are_read_back(value: bytes) -> None:
    assert read("bytes", encoder(schema_of("bytes"))(Holder(value))) == value


@pytest.mark.parametrize(
    "kind",
    [
        "float",
        ["string", "null"],
        ["null", "string", "long"],
        {"type": "fixed", "name": "Md5", "size": 16},
        {"type": "long", "logicalType": "timestamp-millis"},
    ],
)
def test_a_type_that_events_do_without_is_refused_at_once(kind: Any) -> None:
    with pytest.raises(SchemaConflict):
        encoder(schema_of(kind))
