"""The .avsc files as plain JSON: reading them, their hash, their named types."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from crewstream.errors import SchemaConflict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

Schema = dict[str, Any]
NAMESPACE = "crewstream"
_NAMED = ("record", "enum", "fixed")


def read_avsc(folder: Path) -> dict[str, Schema]:
    """Record name -> schema, for every .avsc directly in a folder, by name."""
    return {path.stem: json.loads(path.read_bytes()) for path in sorted(folder.glob("*.avsc"))}


def sha256(schema: Schema) -> str:
    """Hash of what a schema says, whatever its white space and the order of its keys."""
    text = json.dumps(schema, separators=(",", ":"), ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def named_types(node: Any) -> Iterator[Schema]:
    """Every record, enum and fixed that a schema spells out, the outer before the inner."""
    if isinstance(node, list):
        for branch in node:
            yield from named_types(branch)
    elif isinstance(node, dict):
        if node.get("type") in _NAMED:
            yield node
        for key in ("type", "items", "values"):
            yield from named_types(node.get(key))
        for field in node.get("fields", ()):
            yield from named_types(field["type"])


def combined(schemas: Mapping[str, Schema]) -> list[Schema]:
    """All schemas as one union in which every named type is spelt out once.

    Raises SchemaConflict when two files define the same name differently.
    """
    known: dict[str, tuple[str, Schema]] = {}
    return [_once(schema, record, known) for record, schema in schemas.items()]


def _once(node: Any, record: str, known: dict[str, tuple[str, Schema]]) -> Any:
    if isinstance(node, list):
        return [_once(branch, record, known) for branch in node]
    if not isinstance(node, dict):
        return node
    if node.get("type") in _NAMED:
        first, same = known.setdefault(node["name"], (record, node))
        if same != node:
            raise SchemaConflict(
                f"{node['name']} is one thing in {first}.avsc and another in {record}.avsc;"
                " make them equal or give one another name",
            )
        if same is not node:
            return node["name"]
    inner = {
        key: _once(node[key], record, known)
        for key in ("type", "items", "values", "fields")
        if key in node
    }
    return node | inner
