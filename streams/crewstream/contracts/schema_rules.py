"""Our own rules for schemas: how an .avsc is written, and changes that Apache's check lets pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crewstream.contracts.avsc import NAMESPACE, combined, named_types
from crewstream.errors import SchemaConflict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from crewstream.contracts.avsc import Schema
    from crewstream.contracts.schemas import Schemas

_LOGICAL = ("logicalType", "precision", "scale")
_PRIMITIVES = {"boolean", "int", "long", "float", "double", "bytes", "string"}


def findings(schemas: Schemas, subjects: Mapping[str, str]) -> list[str]:
    """Everything that is wrong with schemas, history and lock, in words; empty when all is well.

    `subjects` is subject -> record, see `Topics.subjects`.
    """
    return [
        *(found for name, schema in schemas.current.items() for found in style(name, schema)),
        *(
            found
            for name, versions in schemas.history.items()
            for old in versions
            for found in changes(old, schemas.current.get(name, old))
        ),
        *shared(schemas.current),
        *orphans(schemas.current, subjects.values()),
        *unreleased(schemas, subjects),
    ]


def style(name: str, schema: Schema) -> Iterator[str]:
    """Names, docs and defaults of one .avsc; `name` is the file's."""
    if schema["name"] != name or schema.get("namespace") != NAMESPACE:
        yield f"{name}.avsc: must hold the record {NAMESPACE}.{name}"
    known = {each["name"]: each for each in named_types(schema)}
    for each in known.values():
        if not each.get("doc"):
            yield f"{name}.avsc: {each['name']} has no doc"
        if each["type"] == "enum" and each.get("default") not in each["symbols"]:
            yield f"{name}.avsc: enum {each['name']} has no default among its symbols"
        for field in each.get("fields", ()):
            yield from _field(f"{name}.avsc: {each['name']}.{field['name']}", field, known)


def _field(where: str, field: Mapping[str, Any], known: Mapping[str, Schema]) -> Iterator[str]:
    if not field.get("doc"):
        yield f"{where} has no doc"
    kind = field["type"] if isinstance(field["type"], dict) else known.get(str(field["type"]), {})
    if kind.get("type") == "record" and "default" in field:
        own = {inner["name"]: inner.get("default") for inner in kind["fields"]}
        if field["default"] != own:
            yield f"{where} must default to {kind['name']} with its own defaults: models rely on it"


def shared(schemas: Mapping[str, Schema]) -> Iterator[str]:
    """A name that stands for different types in different files."""
    try:
        combined(schemas)
    except SchemaConflict as conflict:
        yield str(conflict)


def changes(old: Schema, new: Schema) -> Iterator[str]:
    """Changes between two versions that no reader should have to bear, compatible or not."""
    if old.get("namespace") != new.get("namespace"):
        yield f"{new['name']}: the namespace was {old.get('namespace')}"
    before = {each["name"]: each for each in named_types(old)}
    for each in named_types(new):
        was = before.get(each["name"])
        if was is None or was["type"] != each["type"]:
            continue
        if each["type"] == "enum" and each["symbols"][: len(was["symbols"])] != was["symbols"]:
            yield f"{each['name']}: symbols are only ever appended to {', '.join(was['symbols'])}"
        if each["type"] == "fixed" and any(was.get(word) != each.get(word) for word in _LOGICAL):
            yield f"{each['name']} means something else than it did"
        if each["type"] == "record":
            yield from _field_changes(was, each)


def _field_changes(old: Schema, new: Schema) -> Iterator[str]:
    before = {field["name"]: field for field in old["fields"]}
    for field in new["fields"]:
        where = f"{new['name']}.{field['name']}"
        was = before.get(field["name"])
        if was is None:
            if "default" not in field:
                yield f"{where} is new and has no default, so older events cannot be read"
            continue
        lost = set(_meanings(was["type"])) - set(_meanings(field["type"]))
        for at, meaning in sorted(lost, key=repr):
            told = ", ".join(str(word) for word in meaning if word is not None) or "plain"
            yield f"{where}{at} was {told}: bytes would be read as something else"


def _meanings(node: Any, at: str = "") -> Iterator[tuple[str, tuple[Any, ...]]]:
    """(position, what the value there stands for) of every unnamed type in a field's type."""
    for branch in node if isinstance(node, list) else [node]:
        kind = branch if isinstance(branch, dict) else {"type": branch}
        if kind["type"] == "array":
            yield from _meanings(kind["items"], at + "[]")
        elif kind["type"] == "map":
            yield from _meanings(kind["values"], at + "{}")
        elif kind["type"] in _PRIMITIVES:
            yield at, tuple(kind.get(word) for word in _LOGICAL)


def orphans(schemas: Mapping[str, Schema], records: Iterable[str]) -> Iterator[str]:
    """Schemas that no topic carries, and records of topics without a schema."""
    carried = set(records)
    yield from (f"{name}.avsc: no topic carries it" for name in sorted(schemas.keys() - carried))
    yield from (f"{name}: there is no {name}.avsc" for name in sorted(carried - schemas.keys()))


def unreleased(schemas: Schemas, subjects: Mapping[str, str]) -> Iterator[str]:
    """Schemas that changed without `crewstream schemas lock`, and gaps in the lock."""
    for record, schema in schemas.current.items():
        versions = schemas.history.get(record, ())
        if not versions or versions[-1] != schema:
            yield f"{record}.avsc is not released; run `crewstream schemas lock`"
    for subject, record in subjects.items():
        locked = {each.version for each in schemas.subjects.get(subject, ())}
        released = set(range(1, len(schemas.history.get(record, ())) + 1))
        for version in sorted(released - locked):
            yield f"{subject}: version {version} is not in the lock; run `crewstream schemas lock`"
