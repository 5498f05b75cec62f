"""Models written as Avro, by a function a record that is compiled from its schema.

fastavro wants dictionaries and looks every type up again for every value. Here a record is one
expression over all its fields: half the time of a call a field, an eighth of fastavro's. fastavro
also writes an int of 33 bits and a decimal of 30 digits, which Java then refuses; here they raise.
Property tests hold the bytes to fastavro's.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from typing import TYPE_CHECKING, Any

from crewstream.errors import SchemaConflict

if TYPE_CHECKING:
    from crewstream.contracts.avsc import Schema

Encode = Callable[[Any], bytes]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_EXACT = Context(prec=60)

# Of the strings and times that were written lately, so many are kept as bytes, if they are short.
MOST_KEPT = 16_384
MOST_KEPT_CHARACTERS = 64


def encoder(schema: Schema) -> Encode:
    """A function from a model of this record to its Avro datum.

    It raises ValueError, TypeError, AttributeError, LookupError or struct.error when the schema has
    no room for what the model holds. Raises SchemaConflict when the schema has a type that our
    events do without.
    """
    return _Compiler().record(schema)


class _Compiler:
    """Puts together the Python that writes a schema: an expression a type, a function a record.

    An expression is the text of one that writes the value of another, `it`.
    """

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        """Functions of the named types, by the name of the type."""
        self._names: dict[str, Any] = dict(_NAMES)

    def record(self, node: Schema) -> Encode:
        """The function that writes a record."""
        fields = [self._expression(f["type"], f"it[{f['name']!r}]") for f in node["fields"]]
        return self._compiled("event", f"(it := event.__dict__) and join(({', '.join(fields)},))")

    def _compiled(self, of: str, expression: str) -> Encode:
        # The only foreign words in it are a schema's names of fields, as quoted strings.
        code = compile(f"lambda {of}: {expression}", f"<{__name__}>", "eval")
        write: Encode = eval(code, self._names)  # noqa: S307
        return write

    def _expression(self, node: Any, it: str) -> str:
        if isinstance(node, list):
            return self._optional(node, it)
        kind = node if isinstance(node, str) else node["type"]
        if kind in self._known:
            return self._known[kind].format(it)
        if isinstance(node, dict):
            if "logicalType" in node:
                return self._logical(node, it)
            make = {"record": self.record, "array": self._array, "map": self._map}.get(kind)
            if make is not None:
                return self._call(make(node), it, node.get("name"))
            if kind == "enum":
                return self._enum(node, it)
        if kind not in _PRIMITIVES:
            raise SchemaConflict(
                f"{node} has no place in an event; add it to contracts/encoding.py"
            )
        return _PRIMITIVES[kind].format(it)

    def _call(self, write: Encode, it: str, type_name: str | None = None) -> str:
        name = self._bound(write)
        if type_name:
            self._known[type_name] = f"{name}({{}})"
        return f"{name}({it})"

    def _bound(self, value: Any) -> str:
        name = f"made{len(self._names)}"
        self._names[name] = value
        return name

    def _enum(self, node: Schema, it: str) -> str:
        # By bytes: the hash of a StrEnum member is that of its name, and computed in Python.
        symbols = {symbol.encode(): _long(at) for at, symbol in enumerate(node["symbols"])}
        self._known[node["name"]] = f"{self._bound(symbols)}[{{}}.encode()]"
        return self._known[node["name"]].format(it)

    def _array(self, node: Schema) -> Encode:
        item = self._expression(node["items"], "it")
        written = f"join((int64[len(all)], *[{item} for it in all], b'\\0'))"
        return self._compiled("all", f"{written} if all else b'\\0'")

    def _map(self, node: Schema) -> Encode:
        value = self._expression(node["values"], "it")
        pairs = f"[string[key] + {value} for key, it in all.items()]"
        written = f"join((int64[len(all)], *{pairs}, b'\\0'))"
        return self._compiled("all", f"{written} if all else b'\\0'")

    def _optional(self, branches: Sequence[Any], it: str) -> str:
        if len(branches) != 2 or branches[0] != "null":  # noqa: PLR2004 - null and one more
            raise SchemaConflict(f"the union {branches} is not null and one other type")
        return f"(b'\\0' if {it} is None else b'\\2' + {self._expression(branches[1], it)})"

    def _logical(self, node: Schema, it: str) -> str:
        if node["logicalType"] == "timestamp-micros":
            return f"time[{it}]"
        if node["logicalType"] == "decimal":
            return self._call(_decimal(node["scale"], 10 ** node["precision"]), it)
        raise SchemaConflict(f"{node} has no place in an event; add it to contracts/encoding.py")


_PRIMITIVES = {
    "boolean": "(b'\\1' if {0} else b'\\0')",
    "int": "int32[{0}]",
    "long": "int64[{0}]",
    "double": "double({0})",
    "string": "string[{0}]",
    "bytes": "int64[len({0})] + {0}",
}


class _Whole(dict[int, bytes]):
    """Whole numbers of so many bits as they are written; the small ones are made before."""

    def __init__(self, bits: int) -> None:
        super().__init__((number, _long(number)) for number in range(1024))
        self._bits = bits

    def __missing__(self, value: int) -> bytes:
        if not -(1 << self._bits - 1) <= value < 1 << self._bits - 1:
            raise ValueError(f"{value} has more than {self._bits} bits")
        return _long(value)


class _Strings(dict[str, bytes]):
    """Strings with their length in front."""

    def __missing__(self, value: str) -> bytes:
        data = value.encode()
        written = _LONG[len(data)] + data
        if len(data) <= MOST_KEPT_CHARACTERS:
            if len(self) >= MOST_KEPT:
                self.clear()
            self[value] = written
        return written


class _Times(dict[datetime, bytes]):
    """Times in microseconds."""

    def __missing__(self, value: datetime) -> bytes:
        written = _long((value - _EPOCH) // _MICROSECOND)
        if len(self) >= MOST_KEPT:
            self.clear()
        self[value] = written
        return written


def _decimal(scale: int, limit: int) -> Encode:
    def write(value: Decimal) -> bytes:
        if not value:
            return b"\x02\x00"
        scaled = _EXACT.scaleb(value, scale)
        number = int(scaled)
        if number != scaled or abs(number) >= limit:
            raise ValueError(f"{value} does not fit into {scale} decimals below {limit}")
        size = (~number if number < 0 else number).bit_length() // 8 + 1
        return _LONG[size] + number.to_bytes(size, "big", signed=True)

    return write


def _long(value: int) -> bytes:
    """A whole number as Avro writes it: zigzag, seven bits a byte, the lowest first."""
    rest = value << 1 if value >= 0 else ~(value << 1)
    found = bytearray()
    while rest > 0x7F:  # noqa: PLR2004 - seven bits
        found.append(rest & 0x7F | 0x80)
        rest >>= 7
    found.append(rest)
    return bytes(found)


# For all schemas, and kept as long as the process: each event of a workflow has its id, its tenant
# and its times again. Cleared when they are full, which costs less than to know what is old.
_LONG = _Whole(64)
_NAMES = {
    "join": b"".join,
    "string": _Strings(),
    "time": _Times(),
    "int32": _Whole(32),
    "int64": _LONG,
    "double": struct.Struct("<d").pack,
}
