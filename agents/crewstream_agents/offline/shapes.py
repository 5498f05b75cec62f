"""Fits JSON values to JSON schemas, and finds them by name."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

Schema = Mapping[str, Any]

MISSING: Final = object()
"""What there is instead of a value when none fits."""


def fitted(value: Any, schema: Schema) -> Any:
    """Return `value` as the schema wants it, without fields that it does not know, or MISSING.

    Numbers written as text become numbers. Ranges and lengths are not checked: that is the
    receiver's own judgement, and its message is better than silence.
    """
    for option in options(schema):
        shaped = _fitted_one(value, option)
        if shaped is not MISSING:
            return shaped
    return MISSING


def options(schema: Schema) -> list[Schema]:
    """Return the alternatives of a schema; one that has none is its only alternative."""
    found = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
    if found:
        return [inner for option in found for inner in options(option)]
    kind = schema.get("type")
    if isinstance(kind, list):
        return [{**schema, "type": each} for each in kind]
    return [schema]


def nullable(schema: Schema) -> bool:
    """Say whether null is a value of the schema."""
    return any(option.get("type") == "null" for option in options(schema))


def named(name: str, sources: Iterable[Any]) -> Iterator[Any]:
    """Yield the values called `name` in JSON objects: all outer ones first, then nested ones."""
    level = [source for source in sources if isinstance(source, Mapping)]
    while level:
        for mapping in level:
            for key, value in mapping.items():
                if _canonical(key) == _canonical(name):
                    yield value
        level = [
            value for mapping in level for value in mapping.values() if isinstance(value, Mapping)
        ]


def _canonical(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _fitted_one(value: Any, schema: Schema) -> Any:
    allowed = [schema["const"]] if "const" in schema else schema.get("enum")
    if allowed is not None:
        return value if value in allowed else MISSING
    fit = _FITS.get(schema.get("type", ""))
    return value if fit is None else fit(value, schema)


def _object(value: Any, schema: Schema) -> Any:
    if not isinstance(value, Mapping):
        return MISSING
    properties: Mapping[str, Schema] = schema.get("properties") or {}
    if not properties:
        return dict(value)
    shaped = {}
    for name, inner in properties.items():
        part = fitted(value[name], inner) if name in value else MISSING
        if part is not MISSING:
            shaped[name] = part
        elif name in value or "default" not in inner:
            return MISSING
    return shaped


def _array(value: Any, schema: Schema) -> Any:
    if not isinstance(value, Sequence) or isinstance(value, str):
        return MISSING
    shaped = [fitted(item, schema.get("items") or {}) for item in value]
    return MISSING if any(item is MISSING for item in shaped) else shaped


def _number(value: Any, schema: Schema) -> Any:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return MISSING
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return MISSING
    if schema["type"] == "integer":
        return int(value) if value == int(value) else MISSING
    return value


def _text(value: Any, schema: Schema) -> Any:
    if not isinstance(value, str):
        return MISSING
    pattern = schema.get("pattern")
    return value if pattern is None or re.search(pattern, value) else MISSING


def _boolean(value: Any, _: Schema) -> Any:
    return value if isinstance(value, bool) else MISSING


def _null(value: Any, _: Schema) -> Any:
    return None if value is None else MISSING


_FITS: Final[Mapping[str, Callable[[Any, Schema], Any]]] = {
    "array": _array,
    "boolean": _boolean,
    "integer": _number,
    "null": _null,
    "number": _number,
    "object": _object,
    "string": _text,
}
