"""What our reader reads, fastavro and pydantic read the same; all else is left to them."""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import create_model

from crewstream.contracts import events
from crewstream.contracts.decoding import decoder
from crewstream.contracts.encoding import encoder
from crewstream.contracts.record import Record
from crewstream.contracts.schemas import Schemas

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypothesis.strategies import SearchStrategy

SCHEMAS = Schemas.load()
RECORDS = sorted(SCHEMAS.current)
OURS = {
    record: (encoder(schema), decoder(schema, lambda name: getattr(events, name)))
    for record, schema in SCHEMAS.current.items()
}
TIMES = st.datetimes(datetime(1980, 1, 1), datetime(3000, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def at_our_times(node: Any, time: datetime) -> Any:
    """The same event in this century: others are left to fastavro."""
    if isinstance(node, datetime):
        return time
    if isinstance(node, tuple):
        return tuple(at_our_times(each, time) for each in node)
    if isinstance(node, Record):
        return node.changed({n: at_our_times(v, time) for n, v in node.__dict__.items()})
    return node


@pytest.mark.parametrize("record", RECORDS)
@settings(max_examples=25)
@given(data=st.data())
def test_what_we_write_is_read_without_fastavro(
    record: str, any_event: Callable[[str], SearchStrategy[Record]], data: st.DataObject
) -> None:
    write, read = OURS[record]
    event = at_our_times(data.draw(any_event(record)), data.draw(TIMES))
    value = b"frame" + write(event)
    found, end = read(value, 5)
    assert found == event
    assert type(found).model_validate(found.model_dump()).model_dump() == found.model_dump()
    assert end == len(value)


@pytest.mark.parametrize("record", RECORDS)
@settings(max_examples=25)
@given(data=st.data(), noise=st.binary(max_size=40))
def test_spoilt_bytes_are_read_as_fastavro_reads_them_or_not_at_all(
    record: str,
    any_event: Callable[[str], SearchStrategy[Record]],
    data: st.DataObject,
    noise: bytes,
) -> None:
    write, read = OURS[record]
    value = write(at_our_times(data.draw(any_event(record)), data.draw(TIMES)))
    keep = data.draw(st.integers(0, len(value)))
    spoilt = value[:keep] + noise
    found, end = None, -1
    with suppress(ValueError, LookupError, OverflowError, struct.error):
        found, end = read(spoilt, 0)
    if end == len(spoilt):
        assert found == theirs(record, spoilt)


def theirs(record: str, data: bytes) -> Record:
    schema = fastavro.parse_schema(SCHEMAS.current[record])
    datum = fastavro.schemaless_reader(io.BytesIO(data), schema, None)
    model: type[Record] = getattr(events, record)
    return model.model_validate(datum)


def read_one(kind: Any, hint: Any, data: bytes) -> Any:
    model = create_model("Holder", it=(hint, ...))
    schema = {"type": "record", "name": "Holder", "fields": [{"name": "it", "type": kind}]}
    found, end = decoder(schema, lambda _: model)(data, 0)
    if end != len(data):
        raise EOFError
    return found.it


def test_numbers_and_texts_of_every_length_are_read() -> None:
    for number in (0, -1, 63, -64, 64, 2**31, -(2**63), 2**63 - 1):
        assert read_one("long", int, written("long", number)) == number
    for length in (0, 63, 64, 8191, 8192, 100_000):
        assert read_one("string", str, written("string", "x" * length)) == "x" * length
        assert read_one("bytes", bytes, written("bytes", b"x" * length)) == b"x" * length


def written(kind: Any, value: object) -> bytes:
    schema = {"type": "record", "name": "Holder", "fields": [{"name": "it", "type": kind}]}
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), {"it": value})
    return stream.getvalue()


MONEY = {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 9}


@given(number=st.integers(-(10**18) + 1, 10**18 - 1))
def test_every_amount_is_read(number: int) -> None:
    amount = Decimal(number).scaleb(-9)
    assert read_one(MONEY, Decimal, written(MONEY, amount)) == amount


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("string", b"\x03abc"),  # a length below zero
        ("string", b"\x08abc"),  # longer than there is
        ("boolean", b"\x02"),
        ("long", b"\xff" * 10 + b"\x01"),  # more than 64 bits
        (["null", "string"], b"\x04"),  # no such branch
        ({"type": "array", "items": "long"}, b"\x02\x02\x02\x04\x00"),  # two blocks
        ({"type": "array", "items": "long"}, b"\x01\x02\x02\x00"),  # a block that tells its size
        (MONEY, b"\x10\x7f" + b"\xff" * 7),  # 19 digits
        ({"type": "long", "logicalType": "timestamp-micros"}, b"\x02" + b"\x00" * 7),
    ],
)
def test_what_we_would_not_write_is_left_to_fastavro(kind: Any, data: bytes) -> None:
    with pytest.raises((ValueError, LookupError, EOFError)):
        read_one(kind, Any, data)
