"""Confluent's framing of a record's value: 0x00, the schema's id in four bytes, the Avro datum."""

from __future__ import annotations

import struct

MAGIC = 0
HEADER_BYTES = 5
_HEADER = struct.Struct(">BI")


def header(schema_id: int) -> bytes:
    """The five bytes in front of a datum that was written with this schema."""
    return _HEADER.pack(MAGIC, schema_id)


def schema_id(value: bytes | None) -> int | None:
    """The id of the schema that a value was written with; None when it is not framed."""
    if not value or len(value) < HEADER_BYTES or value[0] != MAGIC:
        return None
    return int.from_bytes(value[1:HEADER_BYTES], "big")
