"""What clickhouse-go asks first, and so Grafana's plugin: a Native block of the client's revision.

A server writes all of its blocks as of the revision that the client names. The embedded engine can
only write them as of none. So the one answer that the client reads as of its own revision is
written here, and tells it that the server's revision is 0: what follows is read as it is written.
Source: clickhouse-go, conn_http.go (queryHello) and lib/proto/block.go (Block.Decode).
"""

from __future__ import annotations

import re
from struct import pack

_HELLO = re.compile(
    r"SELECT\s+displayName\(\),\s*version\(\),\s*revision\(\),\s*timezone\(\)\s*", re.IGNORECASE
)
_COLUMNS = (
    ("displayName()", "String"),
    ("version()", "String"),
    ("revision()", "UInt32"),
    ("timezone()", "String"),
)
_WITH_CUSTOM_SERIALIZATION = 54454
# Fields by number, ended by 0: no overflow row, no bucket.
_INFO = b"\x01\x00" + b"\x02" + pack("<i", -1) + b"\x00"


def is_asked(sql: str, fmt: str) -> bool:
    """Whether this is the first question of such a client."""
    return fmt == "Native" and _HELLO.fullmatch(sql) is not None


def block(values: tuple[str, str, int, str], protocol: int) -> bytes:
    """One row of the four answers, in Native as of revision `protocol`, which is above 0."""
    flags = b"\x00" if protocol >= _WITH_CUSTOM_SERIALIZATION else b""
    parts = [_INFO, b"\x04\x01"]
    for (name, kind), value in zip(_COLUMNS, values, strict=True):
        data = _text(value) if isinstance(value, str) else pack("<I", value)
        parts += [_text(name), _text(kind), flags, data]
    return b"".join(parts)


def _text(text: str) -> bytes:
    data = text.encode()
    return bytes((len(data),)) + data  # all of them are short: one byte of varint
