"""Models written as Avro, by functions that are put together once for each schema.

fastavro wants dictionaries and looks every type up again for every value: a WorkflowState of one
task takes it three times as long. It also writes an int of 33 bits and a decimal of 30 digits,
which Java then refuses; here they raise. Property tests hold the bytes to fastavro's.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from crewstream.errors import SchemaConflict

if TYPE_CHECKING:
    from crewstream.contracts.avsc import Schema

Append = Callable[[bytes], None]
Write = Callable[[Append, Any], None]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DOUBLE = struct.Struct("<d")
_EXACT = Context(prec=60)
_END = b"\x00"  # of an array or a map; also: zero, false, the empty string, the first branch


def encoder(schema: Schema) -> Callable[[Any], bytes]:
    """A function from a model of this record to its Avro datum.

    It raises ValueError, TypeError or AttributeError when the schema has no room for what the model
    holds. Raises SchemaConflict when the schema has a type that our events do without.
    """
    write = _writer(schema, {})

    def encode(event: Any) -> bytes:
        parts: list[bytes] = []
        write(parts.append, event)
        return b"".join(parts)

    return encode


def _writer(node: Any, known: dict[str, Write]) -> Write:
    if isinstance(node, list):
        return _optional(node, known)
    kind = node if isinstance(node, str) else node["type"]
    if kind in known:
        return known[kind]
    if isinstance(node, dict):
        make = {"record": _record, "enum": _enum, "array": _array, "map": _map}.get(kind)
        if make:
            return make(node, known)
        if "logicalType" in node:
            return _logical(node)
    if kind not in _PRIMITIVES:
        raise SchemaConflict(f"{node} has no place in an event; add it to contracts/encoding.py")
    return _PRIMITIVES[kind]


def _record(node: Schema, known: dict[str, Write]) -> Write:
    fields = [(field["name"], _writer(field["type"], known)) for field in node["fields"]]

    def write(append: Append, event: Any) -> None:
        values = event.__dict__
        for name, write_field in fields:
            write_field(append, values[name])

    return known.setdefault(node["name"], write)


def _enum(node: Schema, known: dict[str, Write]) -> Write:
    # By bytes: the hash of a StrEnum member is that of its name, and computed in Python.
    symbols = {symbol.encode(): _long(at) for at, symbol in enumerate(node["symbols"])}

    def write(append: Append, value: str) -> None:
        append(symbols[value.encode()])

    return known.setdefault(node["name"], write)


def _array(node: Schema, known: dict[str, Write]) -> Write:
    write_item = _writer(node["items"], known)

    def write(append: Append, values: tuple[Any, ...]) -> None:
        if values:
            append(_long(len(values)))
            for value in values:
                write_item(append, value)
        append(_END)

    return write


def _map(node: Schema, known: dict[str, Write]) -> Write:
    write_value = _writer(node["values"], known)

    def write(append: Append, values: dict[str, Any]) -> None:
        if values:
            append(_long(len(values)))
            for key, value in values.items():
                _string(append, key)
                write_value(append, value)
        append(_END)

    return write


def _optional(branches: list[Any], known: dict[str, Write]) -> Write:
    if len(branches) != 2 or branches[0] != "null":  # noqa: PLR2004 - null and one more
        raise SchemaConflict(f"the union {branches} is not null and one other type")
    write_value = _writer(branches[1], known)

    def write(append: Append, value: Any) -> None:
        if value is None:
            append(b"\x00")
        else:
            append(b"\x02")
            write_value(append, value)

    return write


def _logical(node: Schema) -> Write:
    if node["logicalType"] == "timestamp-micros":
        return _timestamp
    if node["logicalType"] == "decimal":
        return _decimal(node["scale"], 10 ** node["precision"])
    raise SchemaConflict(f"{node} has no place in an event; add it to contracts/encoding.py")


def _timestamp(append: Append, value: datetime) -> None:
    append(_micros(value))


@lru_cache(maxsize=4096)
def _micros(value: datetime) -> bytes:
    """Cached: the times of a row come again with each of its transitions."""
    return _long((value - _EPOCH) // _MICROSECOND)


def _decimal(scale: int, limit: int) -> Write:
    def write(append: Append, value: Decimal) -> None:
        if not value:
            append(b"\x02\x00")
            return
        scaled = _EXACT.scaleb(value, scale)
        number = int(scaled)
        if number != scaled or abs(number) >= limit:
            raise ValueError(f"{value} does not fit into {scale} decimals below {limit}")
        size = (~number if number < 0 else number).bit_length() // 8 + 1
        append(_long(size))
        append(number.to_bytes(size, "big", signed=True))

    return write


def _string(append: Append, value: str) -> None:
    if not value:  # as half of them are
        append(_END)
        return
    data = value.encode()
    size = len(data)
    append(_SHORT[size] if size < SHORT else _varint(size << 1))
    append(data)


def _bytes(append: Append, value: bytes) -> None:
    append(_long(len(value)))
    append(value)


def _boolean(append: Append, value: bool) -> None:
    append(b"\x01" if value else b"\x00")


def _double(append: Append, value: float) -> None:
    append(_DOUBLE.pack(value))


def _whole(bits: int) -> Write:
    limit = 1 << (bits - 1)

    def write(append: Append, value: int) -> None:
        if 0 <= value < SHORT:
            append(_SHORT[value])
        elif -limit <= value < limit:
            append(_long(value))
        else:
            raise ValueError(f"{value} has more than {bits} bits")

    return write


def _long(value: int) -> bytes:
    """Zigzag, seven bits a byte, the lowest first."""
    if 0 <= value < SHORT:
        return _SHORT[value]
    return _varint(value << 1 if value >= 0 else ~(value << 1))


def _varint(rest: int) -> bytes:
    found = bytearray()
    while rest > 0x7F:  # noqa: PLR2004 - seven bits
        found.append(rest & 0x7F | 0x80)
        rest >>= 7
    found.append(rest)
    return bytes(found)


SHORT = 1024
_SHORT = [_varint(value << 1) for value in range(SHORT)]
_PRIMITIVES: dict[str, Write] = {
    "boolean": _boolean,
    "int": _whole(32),
    "long": _whole(64),
    "double": _double,
    "string": _string,
    "bytes": _bytes,
}
