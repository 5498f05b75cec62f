"""Measurements, workflow state and dead letters -> ClickHouse rows, as raw Avro blocks."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Protocol

from crewstream.contracts import framing, letters
from crewstream.contracts.avsc import named_types
from crewstream.contracts.events import Measured, WorkflowState
from crewstream.errors import Invalid, Undecodable
from crewstream.records import Block

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from crewstream.contracts.avsc import Schema
    from crewstream.contracts.codec import Codec, SchemaSource
    from crewstream.contracts.record import Record
    from crewstream.contracts.schemas import Schemas
    from crewstream.records import Inbound, Outbound

PROVENANCE = ("_topic", "_partition", "_offset")
DEAD_LETTERS = "dead_letters"
LETTER_COLUMNS = (
    *("topic", "partition", "offset", "failed_at", "error_type", "error", "schema_id"),
    *("key", "payload", *PROVENANCE),
)
_SYNC = b"crewstream-block"  # any 16 bytes end a block; the same ones keep a repeated block equal
_TYPES = ("string", "int", "long")


class AnalyticsStore(Protocol):
    """Where the rows go. An insert stores all of its rows or none."""

    async def columns(self, table: str) -> Collection[str]:
        """The names of a table's columns."""
        ...

    async def insert_avro(
        self, table: str, columns: Sequence[str], block: bytes, token: str
    ) -> None:
        """Store an Avro container; one with a `token` that was stored lately is skipped.

        Raises Invalid when the data are at fault, Transient when the same may be tried again.
        """
        ...

    async def insert_rows(
        self, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]], token: str
    ) -> None:
        """The same for rows of plain values."""
        ...


@dataclass(frozen=True, slots=True)
class Topics:
    """The full names of the topics that are recorded."""

    metrics: str
    state: str
    dead_letters: str


class Recorder:
    """Turns batches of records into inserts.

    Replays are harmless: the tables replace rows by key, and an equal block is not stored twice.
    """

    def __init__(
        self,
        store: AnalyticsStore,
        codec: Codec,
        schemas: Schemas,
        topics: Topics,
        source: SchemaSource | None = None,
    ) -> None:
        self._store = store
        self._codec = codec
        self._schemas = schemas
        self._topics = topics
        self._source = source
        self._tables: Mapping[str, tuple[str, type[Record]]] = {
            topics.metrics: ("events", Measured),
            topics.state: ("transitions", WorkflowState),
        }
        self._columns: dict[str, Collection[str]] = {}

    async def record(self, batch: Iterable[Sequence[Inbound]]) -> Sequence[Outbound]:
        """Store the records of each partition; the dead letters that are still to be sent.

        A dead letter gets its row when it comes back on its topic. Raises Transient when
        ClickHouse, or the schema of a record, is away: nothing of the batch may be committed then.
        """
        dead: list[Outbound] = []
        for records in batch:
            if records and records[0].topic == self._topics.dead_letters:
                await self._letters(records)
            elif records:
                dead += await self._events(records)
        return dead

    async def _letters(self, records: Sequence[Inbound]) -> None:
        """Marks that `crewstream dlq` puts behind letters are none, and become no rows."""
        records = [record for record in records if not letters.is_mark(record.headers)]
        if not records:
            return
        rows = [letter_row(record) for record in records]
        sums = b"".join(record.value or b"" for record in records)
        await self._store.insert_rows(DEAD_LETTERS, LETTER_COLUMNS, rows, token(records, sums))

    async def _events(self, records: Sequence[Inbound]) -> list[Outbound]:
        table, model = self._tables[records[0].topic]
        groups, dead = self._grouped([r for r in records if r.value is not None], model)
        for schema_id, group in groups.items():
            block = Block(table, group[0].topic, group[0].partition, schema_id, group)
            dead += await self._stored(block, model)
        return dead

    def _grouped(
        self, records: Sequence[Inbound], model: type[Record]
    ) -> tuple[Mapping[int, list[Inbound]], list[Outbound]]:
        """The records by writer schema, and the dead letters of those that have none that fits."""
        arrived: dict[int | None, list[Inbound]] = defaultdict(list)
        for record in records:
            arrived[framing.schema_id(record.value)].append(record)
        groups: dict[int, list[Inbound]] = defaultdict(list)
        dead: list[Outbound] = []
        for schema_id, group in arrived.items():
            if schema_id is not None and self._fits(schema_id, model):
                groups[schema_id] += group
            else:
                current, bad = self._each(group, model, self._rewritten)
                groups[self._schemas.id_of(model.__name__)] += current
                dead += bad
        return {schema_id: group for schema_id, group in groups.items() if group}, dead

    def _fits(self, schema_id: int, model: type[Record]) -> bool:
        """Whether records of this writer schema can be stored as they are.

        A column for a nested record takes exactly its fields, so there another shape does not do.
        """
        writer, ours = self._writer(schema_id), self._schemas.current[model.__name__]
        if writer is None or writer["name"] != ours["name"]:
            return False
        return writer == ours or _nested(writer) == _nested(ours)

    def _writer(self, schema_id: int) -> Schema | None:
        released = self._schemas.by_id.get(schema_id)
        if released or not self._source:
            return released.schema if released else None
        return self._source.schema(schema_id)

    def _rewritten(self, record: Inbound, model: type[Record]) -> Inbound:
        return replace(record, value=self._codec.encode(self._codec.decode(record.value, model)))

    def _readable(self, record: Inbound, model: type[Record]) -> Inbound:
        self._codec.decode(record.value, model)
        return record

    def _each(
        self,
        records: Sequence[Inbound],
        model: type[Record],
        step: Callable[[Inbound, type[Record]], Inbound],
    ) -> tuple[list[Inbound], list[Outbound]]:
        """What `step` makes of the records, and the dead letters of those that it cannot read."""
        good, dead = [], []
        for record in records:
            try:
                good.append(step(record, model))
            except Undecodable as fault:
                dead.append(record.dead_letter(self._topics.dead_letters, fault))
        return good, dead

    async def _stored(self, block: Block, model: type[Record]) -> list[Outbound]:
        """Store a block without what is at fault in it; the dead letters."""
        try:
            await self._insert(block)
        except Invalid as fault:
            return await self._without_faults(block, model, fault)
        return []

    async def _without_faults(
        self, block: Block, model: type[Record], fault: Invalid
    ) -> list[Outbound]:
        good, dead = self._each(block.records, model, self._readable)
        if dead:
            rest = [good] if good else []
        elif len(good) == 1:
            return [good[0].dead_letter(self._topics.dead_letters, fault)]
        else:
            middle = len(good) // 2
            rest = [good[:middle], good[middle:]]
        for part in rest:
            dead += await self._stored(replace(block, records=part), model)
        return dead

    async def _insert(self, block: Block) -> None:
        writer = self._writer(block.schema_id) or {}
        if block.table not in self._columns:
            self._columns[block.table] = await self._store.columns(block.table)
        known = self._columns[block.table]
        columns = [f["name"] for f in writer["fields"] if f["name"] in known]
        container = avro_container(writer, block.records)
        await self._store.insert_avro(
            block.table, [*PROVENANCE, *columns], container, token(block.records, container)
        )


def avro_container(writer: Schema, records: Sequence[Inbound]) -> bytes:
    """An Avro object container with the records' datums as they are, each after its provenance.

    `writer` is the schema that all of them were written with. Nothing is decoded.
    Source: https://avro.apache.org/docs/1.12.0/specification/#object-container-files
    """
    first = records[0]
    start = _bytes(first.topic.encode()) + _long(first.partition)
    body = b"".join(_datums(start, records))
    return b"".join((_header(writer), _long(len(records)), _long(len(body)), body, _SYNC))


def _datums(start: bytes, records: Sequence[Inbound]) -> Iterator[bytes]:
    for record in records:
        yield start
        yield _long(record.offset)
        yield (record.value or b"")[framing.HEADER_BYTES :]


def _header(writer: Schema) -> bytes:
    added = [{"name": name, "type": kind} for name, kind in zip(PROVENANCE, _TYPES, strict=True)]
    schema = json.dumps(writer | {"fields": added + writer["fields"]}).encode()
    metadata = (_long(2), _bytes(b"avro.schema"), _bytes(schema), _bytes(b"avro.codec"))
    return b"".join((b"Obj\x01", *metadata, _bytes(b"null"), _long(0), _SYNC))


def _bytes(data: bytes) -> bytes:
    return _long(len(data)) + data


def _long(number: int) -> bytes:
    """Avro's zig-zag variable-length integer, for 64 bits."""
    left = (number << 1) ^ (number >> 63)
    if left < 0x80:  # noqa: PLR2004 - seven bits: nearly every number in a block
        return bytes((left,))
    out = bytearray()
    while left > 0x7F:  # noqa: PLR2004
        out.append(left & 0x7F | 0x80)
        left >>= 7
    out.append(left)
    return bytes(out)


def token(records: Sequence[Inbound], payload: bytes) -> str:
    """What makes an insert known when it is tried again.

    With a hash of what is in it: a topic that was made anew counts its offsets from 0 again.
    """
    first, last = records[0], records[-1]
    digest = blake2b(payload, digest_size=8).hexdigest()
    return f"{first.topic}:{first.partition}:{first.offset}-{last.offset}:{digest}"


def letter_row(record: Inbound) -> Sequence[object]:
    """A row of `dead_letters`, in the order of LETTER_COLUMNS; headers not made by us may lie."""
    told = {name: value.decode("utf-8", "replace") for name, value in record.headers}
    schema_id = told.get("x-dlq-schema-id", "")
    return (
        told.get("x-dlq-topic", record.topic),
        _number(told.get("x-dlq-partition", ""), record.partition),
        _number(told.get("x-dlq-offset", ""), record.offset),
        record.at,
        told.get("x-dlq-error-type", ""),
        told.get("x-dlq-error", ""),
        _number(schema_id, 0) if schema_id else None,
        record.key or b"",
        record.value or b"",
        record.topic,
        record.partition,
        record.offset,
    )


def _number(text: str, otherwise: int) -> int:
    return int(text) if text.isdecimal() and len(text) < len(str(2**63)) else otherwise


def _nested(schema: Schema) -> Sequence[Any]:
    """What decides the shape of the columns for nested records: their names and fields."""
    inner = [one for one in named_types(schema) if one is not schema and one["type"] == "record"]
    return [(one["name"], [(f["name"], f["type"]) for f in one["fields"]]) for one in inner]
