"""Event <-> bytes: Confluent framing, the writer's schema by its id, ours as the reader's.

Sole importer of fastavro.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import fastavro
from fastavro import schemaless_reader
from pydantic import ValidationError

from crewstream.contracts import events, framing
from crewstream.contracts.avsc import NAMESPACE, named_types
from crewstream.contracts.decoding import Decode, decoder
from crewstream.contracts.encoding import encoder
from crewstream.contracts.record import Record
from crewstream.errors import Invalid, Undecodable

if TYPE_CHECKING:
    from collections.abc import Callable

    from crewstream.contracts.avsc import Schema
    from crewstream.contracts.schemas import Schemas

R = TypeVar("R", bound=Record)


class SchemaSource(Protocol):
    """Where schemas are found that are not in our lock."""

    def schema(self, schema_id: int) -> Schema | None:
        """The schema of this id; None: there is none. Raises Transient when it cannot tell."""
        ...


@dataclass(frozen=True, slots=True)
class _Written:
    """What values with one schema id hold, and how they are read."""

    record: str
    writer: Schema
    reader: Schema | None
    """None where it is the writer: fastavro reads twice as fast without resolving."""
    decode: Decode | None
    """For values as we write them today: a quarter of the time of the other way."""


class Codec:
    """Encodes and decodes the records of `events`. Parsed schemas are kept, nothing else is."""

    def __init__(self, schemas: Schemas, source: SchemaSource | None = None) -> None:
        self._schemas = schemas
        self._source = source
        self._own: dict[type[Record], tuple[bytes, Callable[[Any], bytes]]] = {}
        self._written: dict[int, _Written] = {}

    def encode(self, event: Record) -> bytes:
        """The framed value. Raises Invalid when the schema has no room for what the event holds."""
        header, encode = self._own.get(type(event)) or self._learn(type(event))
        try:
            return header + encode(event)
        except (ValueError, TypeError, AttributeError, LookupError, struct.error) as error:
            raise Invalid(f"{type(event).__name__} cannot be written as Avro: {error!r}") from error

    def decode(self, value: bytes | None, model: type[R]) -> R:
        """The event in a framed value, read with our own schema.

        Raises Undecodable with the reason; Transient when the schema source cannot tell now.
        """
        schema_id = _schema_id(value)
        written = self._written.get(schema_id) or self._resolve(schema_id)
        if written.record != model.__name__:
            raise Undecodable(
                f"schema id {schema_id} is {written.record}, but {model.__name__} belongs here:"
                " it came to the wrong topic",
                schema_id=schema_id,
            )
        return _read(value or b"", schema_id, written, model)

    def decode_any(self, value: bytes | None) -> Record:
        """The event in a framed value, whichever of ours it is. Raises as `decode` does."""
        schema_id = _schema_id(value)
        written = self._written.get(schema_id) or self._resolve(schema_id)
        return _read(value or b"", schema_id, written, _model(written.record))

    def _learn(self, model: type[Record]) -> tuple[bytes, Callable[[Any], bytes]]:
        record = model.__name__
        header = framing.header(self._schemas.id_of(record))
        return self._own.setdefault(model, (header, encoder(self._schemas.current[record])))

    def _resolve(self, schema_id: int) -> _Written:
        released = self._schemas.by_id.get(schema_id)
        schema = released.schema if released else self._source and self._source.schema(schema_id)
        if not schema:
            raise Undecodable(f"schema id {schema_id} is unknown", schema_id=schema_id)
        name = _full_name(schema)
        record = name.removeprefix(f"{NAMESPACE}.")
        ours = self._schemas.current.get(record)
        if ours is None or name == record:
            raise Undecodable(
                f"schema id {schema_id} is {name}, none of our events", schema_id=schema_id
            )
        reader = None if ours == schema else _reader(ours)
        decode = decoder(ours, _named) if released and ours == schema else None
        written = _Written(record, _parsed(schema), reader, decode)
        return self._written.setdefault(schema_id, written)


def _full_name(schema: Any) -> str:
    """The record's name with its namespace, whichever way it is spelt; else what it is instead."""
    if not isinstance(schema, dict) or "name" not in schema:
        return "no record"
    name = str(schema["name"])
    return name if "." in name else f"{schema.get('namespace', '')}.{name}".removeprefix(".")


def _parsed(schema: Schema) -> Schema:
    try:
        parsed: Any = fastavro.parse_schema(schema)
    except Exception as error:  # a foreign registry's: nothing that it holds may stop a partition
        raise Undecodable(f"its schema is no valid Avro: {error!r}") from error
    found: Schema = parsed
    return found


def _reader(ours: Schema) -> Schema:
    """Our schema, parsed, with the models' defaults in the place of its own.

    fastavro fills a field that the writer did not know with the default as JSON spells it, and for
    a decimal that is a string of bytes.
    """
    parsed = _parsed(ours)
    for record in named_types(parsed):
        model = _model(record["name"].removeprefix(f"{NAMESPACE}."))
        for field in record.get("fields", ()):
            if "default" in field:
                field["default"] = model.model_fields[field["name"]].default
    return parsed


def _model(record: str) -> type[Record]:
    model: type[Record] = _named(record)
    return model


def _named(name: str) -> Any:
    """The model or the enum of this name."""
    return getattr(events, name)


def _schema_id(value: bytes | None) -> int:
    if not value:
        raise Undecodable("the value is empty")
    schema_id = framing.schema_id(value)
    if schema_id is None:
        raise Undecodable(
            f"the value is {len(value)} bytes and starts with 0x{value[0]:02x};"
            f" Confluent's framing is 0x00, four bytes of schema id, and Avro",
        )
    return schema_id


def _read(value: bytes, schema_id: int, written: _Written, model: type[R]) -> R:
    if written.decode is not None:
        try:
            event, end = written.decode(value, framing.HEADER_BYTES)
        except Exception:  # noqa: BLE001, S110  (fastavro and pydantic have the words for it)
            pass
        else:
            if end == len(value):
                found: R = event
                return found
    return _validated(value, schema_id, written, model)


def _validated(value: bytes, schema_id: int, written: _Written, model: type[R]) -> R:
    stream = BytesIO(value)
    stream.seek(framing.HEADER_BYTES)
    try:
        datum: Any = schemaless_reader(stream, written.writer, written.reader)
        event = model.model_validate(datum)
    except ValidationError as error:
        reason = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()
        )
        raise Undecodable(
            f"the {written.record} breaks its own rules: {reason}", schema_id=schema_id
        ) from error
    except EOFError as error:
        raise Undecodable(
            f"the {written.record} ends in the middle: {len(value)} bytes are not all of it",
            schema_id=schema_id,
        ) from error
    # A spoilt datum makes fastavro raise nearly anything; whatever it was, the bytes stay bad.
    except Exception as error:
        raise Undecodable(
            f"the Avro datum is no {written.record} of schema id {schema_id}: {error}",
            schema_id=schema_id,
        ) from error
    if left := len(value) - stream.tell():
        raise Undecodable(
            f"{left} bytes are left over after the {written.record}", schema_id=schema_id
        )
    return event
