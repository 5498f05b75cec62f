"""Avro datums read as models, by a function a record that is compiled from its schema.

For values that were written with our own schema, as nearly all are: a quarter of the time that
fastavro and pydantic take, which find nothing more in such bytes. Whatever is not as we write it
(an array in two blocks, a symbol that we do not know, a spoilt byte) raises, and is left to them.
Property tests hold the events to theirs.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from textwrap import indent
from typing import TYPE_CHECKING, Any

from crewstream.contracts.record import maker

if TYPE_CHECKING:
    from crewstream.contracts.avsc import Schema

Decode = Callable[[bytes, int], tuple[Any, int]]
"""From bytes and a place in them to what stands there, and the place behind it."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME_BYTES = 8  # of microseconds, in the years from 1978 to 3111
_MORE = 0x80  # the bit of a byte after which the number goes on
MOST_KEPT = 16_384


def decoder(schema: Schema, named: Callable[[str], Any]) -> Decode:
    """A function from bytes to the event that begins at a place in them, and to where it ends.

    `named` gives the model or the enum of a type's name. Whatever the function raises, or an end
    behind the last byte, says that the bytes have to be read in another way.
    """
    return _Compiler(named).record(schema)


class _Compiler:
    """Puts together the Python that reads a schema: some lines a type, a function a record.

    Lines set a variable (`it`) from `data` at `at`, and move `at` on.
    """

    def __init__(self, named: Callable[[str], Any]) -> None:
        self._named = named
        self._known: dict[str, str] = {}
        """The lines of the named types, with `{it}` in them, by the name of the type."""
        self._names: dict[str, Any] = {
            "whole": [number >> 1 ^ -(number & 1) for number in range(_MORE)] + [None] * _MORE,
            "size": [byte >> 1 if byte < _MORE and not byte & 1 else -1 for byte in range(256)],
            "number": _number,
            "length": _length,
            "end": _end,
            "flag": {0: False, 1: True},
            "is_there": {0: False, 2: True},
            "time": _TIMES,
            "double": struct.Struct("<d").unpack_from,
        }

    def record(self, node: Schema) -> Decode:
        """The function that reads a record."""
        fields = [
            (field["name"], f"its_{field['name']}", field["type"]) for field in node["fields"]
        ]
        lines = "".join(self._lines(kind, it) for _, it, kind in fields)
        make = self._bound(maker(self._named(node["name"])))
        values = ", ".join(f"{name!r}: {it}" for name, it, _ in fields)
        return self._compiled(f"{lines}return {make}({{{values}}}), at\n")

    def _compiled(self, lines: str) -> Decode:
        # The only foreign words in it are the names in a schema, which are Python's names as well.
        code = compile(f"def read(data, at):\n{indent(lines, ' ')}", f"<{__name__}>", "exec")
        exec(code, self._names)  # noqa: S102
        read: Decode = self._names.pop("read")
        return read

    def _lines(self, node: Any, it: str) -> str:
        if isinstance(node, list):  # null and one more: the encoder takes no other
            there = indent(self._lines(node[1], it), " ")
            return f"at += 1\nif is_there[data[at - 1]]:\n{there}else: {it} = None\n"
        kind = node if isinstance(node, str) else node["type"]
        if isinstance(node, dict):
            make = {"record": self._record, "enum": self._enum, "array": self._array,
                    "map": self._map}.get(kind)  # fmt: skip
            if "logicalType" in node:
                return _TIME.format(it=it) if kind == "long" else self._decimal(node, it)
            if make is not None:
                kind = node.get("name", kind)
                self._known[kind] = make(node)
        return (self._known.get(kind) or _PRIMITIVES[kind]).format(it=it)

    def _bound(self, value: Any) -> str:
        name = f"made{len(self._names)}"
        self._names[name] = value
        return name

    def _record(self, node: Schema) -> str:
        return f"{{it}}, at = {self._bound(self.record(node))}(data, at)\n"

    def _enum(self, node: Schema) -> str:
        kind = self._named(node["name"])
        symbols = {at << 1: kind(symbol) for at, symbol in enumerate(node["symbols"])}
        return f"{{it}} = {self._bound(symbols)}[data[at]]; at += 1\n"

    def _array(self, node: Schema) -> str:
        item = self._lines(node["items"], "one")
        read = self._compiled(_ITEMS.format(start="[]", item=indent(item, "  "), add="append(one)"))
        return f"{{it}}, at = {self._bound(read)}(data, at)\n{{it}} = tuple({{it}})\n"

    def _map(self, node: Schema) -> str:
        pair = self._lines("string", "key") + self._lines(node["values"], "one")
        read = self._compiled(
            _ITEMS.format(start="{}", item=indent(pair, "  "), add="__setitem__(key, one)")
        )
        return f"{{it}}, at = {self._bound(read)}(data, at)\n"

    def _decimal(self, node: Schema, it: str) -> str:
        read = self._bound(_Decimals(node["precision"], node["scale"]))
        return f"{_PRIMITIVES['bytes'].format(it=it)}{it} = {read}[{it}]\n"


# The first byte of a string says how long it is, if it is shorter than 64 bytes.
_STRING = """\
n = size[data[at]]; at += 1
if n:
 if n < 0: n, at = length(data, at - 1)
 {{it}} = data[at : at + n]{0}; at += n
else: {{it}} = {1}
"""
_NUMBER = """\
{it} = whole[data[at]]; at += 1
if {it} is None: {it}, at = number(data, at - 1)
"""
_TIME = "{it} = time[data[at : at + 8]]; at += 8\n"
_ITEMS = """\
n, at = number(data, at)
all = {start}
if n:
 for _ in range(n):
{item}  all.{add}
 at = end(data, at)
return all, at
"""
_PRIMITIVES = {
    "boolean": "{it} = flag[data[at]]; at += 1\n",
    "int": _NUMBER,
    "long": _NUMBER,
    "double": "{it}, = double(data, at); at += 8\n",
    "string": _STRING.format(".decode()", "''"),
    "bytes": _STRING.format("", "b''"),
}


class _Times(dict[bytes, datetime]):
    """Times by their bytes; those of a row come again with each of its transitions."""

    def __missing__(self, data: bytes) -> datetime:
        micros, end = _number(data, 0)
        if end != _TIME_BYTES:
            raise ValueError(data)
        time = _EPOCH + timedelta(microseconds=micros)
        if len(self) >= MOST_KEPT:
            self.clear()
        self[data] = time
        return time


class _Decimals(dict[bytes, Decimal]):
    """Decimals by their bytes; most are zero."""

    def __init__(self, precision: int, scale: int) -> None:
        super().__init__()
        self._limit, self._scale = 10**precision, scale

    def __missing__(self, data: bytes) -> Decimal:
        number = int.from_bytes(data, "big", signed=True)
        if abs(number) >= self._limit:
            raise ValueError(data)
        found = Decimal(number).scaleb(-self._scale)
        if not number:
            self[data] = found
        return found


def _number(data: bytes, at: int) -> tuple[int, int]:
    found = shift = 0
    while (byte := data[at]) >= _MORE:
        found |= (byte & 0x7F) << shift
        shift, at = shift + 7, at + 1
    found |= byte << shift
    if found >> 64:
        raise ValueError(found)
    return found >> 1 ^ -(found & 1), at + 1


def _length(data: bytes, at: int) -> tuple[int, int]:
    number, at = _number(data, at)
    if number < 0 or at + number > len(data):
        raise ValueError(number)
    return number, at


def _end(data: bytes, at: int) -> int:
    """The end of an array or a map, which we write in one block."""
    if data[at]:
        raise ValueError(at)
    return at + 1


# For all schemas, and kept as long as the process: each event of a workflow has its times again.
_TIMES = _Times()
