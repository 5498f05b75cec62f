"""The recorder against a store in memory: what it inserts, and what it gives up."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewstream.contracts import framing
from crewstream.contracts.codec import Codec
from crewstream.contracts.events import Measured, Operation, WorkflowState
from crewstream.contracts.schemas import Schemas
from crewstream.errors import Invalid, Unreachable
from crewstream.processors.recorder import (
    LETTER_COLUMNS,
    Recorder,
    Topics,
    avro_container,
    letter_row,
    token,
)
from crewstream.records import Inbound

SCHEMAS = Schemas.load()
CODEC = Codec(SCHEMAS)
TOPICS = Topics(metrics="x.metrics", state="x.workflow.state", dead_letters="x.dead-letters")
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def measured(number: int, tenant: str = "t") -> bytes:
    return CODEC.encode(
        Measured(
            event_id=f"00000000-0000-0000-0000-{number:012d}",
            occurred_at=NOW,
            tenant_id=tenant,
            project_id="p",
            operation=Operation.CHAT,
            cost_usd=Decimal("0.000000001"),
        )
    )


def inbound(value: bytes | None, offset: int = 0, topic: str = TOPICS.metrics) -> Inbound:
    return Inbound(topic, 3, offset, b"k", value, (), int(NOW.timestamp() * 1000))


@dataclass
class MemoryStore:
    """Keeps what is inserted; refuses a block that holds a row of tenant `refused`."""

    blocks: list[tuple[str, Sequence[str], list[dict[str, Any]], str]] = field(default_factory=list)
    rows: list[tuple[Sequence[object], ...]] = field(default_factory=list)
    away: bool = False

    async def columns(self, table: str) -> Sequence[str]:
        record = {"events": "Measured", "transitions": "WorkflowState"}[table]
        return [f["name"] for f in SCHEMAS.current[record]["fields"] if f["name"] != "trace_id"]

    async def insert_avro(
        self, table: str, columns: Sequence[str], block: bytes, token: str
    ) -> None:
        if self.away:
            raise Unreachable
        rows: list[dict[str, Any]] = []
        try:
            rows += fastavro.reader(io.BytesIO(block))  # type: ignore[arg-type]
        except Exception as error:
            raise Invalid("no Avro") from error
        if any(row["tenant_id"] == "refused" for row in rows):
            raise Invalid("Code: 70: refused")
        self.blocks.append((table, columns, rows, token))

    async def insert_rows(
        self, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]], token: str
    ) -> None:
        assert (table, columns) == ("dead_letters", LETTER_COLUMNS)
        assert token
        self.rows.append(tuple(rows))

    @property
    def offsets(self) -> list[int]:
        return sorted(row["_offset"] for _, _, rows, _ in self.blocks for row in rows)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def recorder(store: MemoryStore) -> Recorder:
    return Recorder(store, CODEC, SCHEMAS, TOPICS)


@given(
    offsets=st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=50),
    topic=st.text(min_size=1),
    partition=st.integers(0, 2**31 - 1),
)
def test_a_container_reads_back_with_its_provenance(
    offsets: list[int], topic: str, partition: int
) -> None:
    values = [measured(n) for n in range(len(offsets))]
    records = [
        Inbound(topic, partition, offset, None, value, (), 0)
        for offset, value in zip(offsets, values, strict=True)
    ]
    container = avro_container(SCHEMAS.current["Measured"], records)
    rows: list[Any] = list(fastavro.reader(io.BytesIO(container)))
    assert [(r["_topic"], r["_partition"], r["_offset"]) for r in rows] == [
        (topic, partition, offset) for offset in offsets
    ]
    assert [r["event_id"] for r in rows] == [
        CODEC.decode(value, Measured).event_id for value in values
    ]


async def test_each_partition_is_one_block_with_the_columns_that_the_table_has(
    recorder: Recorder, store: MemoryStore
) -> None:
    batch = [[inbound(measured(n), n) for n in range(3)], [inbound(measured(9), 9)]]
    assert await recorder.record(batch) == []
    assert [len(rows) for _, _, rows, _ in store.blocks] == [3, 1]
    table, columns, _, _ = store.blocks[0]
    assert table == "events"
    assert columns[:4] == ["_topic", "_partition", "_offset", "event_id"]
    assert "trace_id" not in columns


async def test_what_cannot_be_read_goes_to_the_dead_letters_and_the_rest_is_stored(
    recorder: Recorder, store: MemoryStore
) -> None:
    bad = [
        b"junk",
        b"",
        framing.header(999_999) + b"x",
        measured(3)[:-4],
        measured(4) + b"tail",
        CODEC.encode(
            WorkflowState(
                workflow_id="w",
                tenant_id="t",
                project_id="p",
                version=1,
                requested_at=NOW,
                accepted_at=NOW,
                updated_at=NOW,
            )
        ),
    ]
    records = [inbound(value, n) for n, value in enumerate(bad)]
    dead = await recorder.record([[*records, inbound(measured(50), 50), inbound(measured(51), 51)]])
    assert {letter.topic for letter in dead} == {TOPICS.dead_letters}
    given_up = {int(dict(letter.headers)["x-dlq-offset"]): letter.value for letter in dead}
    assert given_up == dict(enumerate(bad))
    assert store.offsets == [50, 51]


async def test_what_clickhouse_refuses_is_found_by_halving(
    recorder: Recorder, store: MemoryStore
) -> None:
    refused = {5, 6, 40}
    records = [inbound(measured(n, "refused" if n in refused else "t"), n) for n in range(64)]
    dead = await recorder.record([records])
    assert {int(dict(letter.headers)["x-dlq-offset"]) for letter in dead} == refused
    assert store.offsets == [n for n in range(64) if n not in refused]


async def test_an_outage_gives_up_nothing(recorder: Recorder, store: MemoryStore) -> None:
    store.away = True
    with pytest.raises(Unreachable):
        await recorder.record([[inbound(measured(0))]])


async def test_tombstones_of_the_state_feed_are_no_rows(
    recorder: Recorder, store: MemoryStore
) -> None:
    assert await recorder.record([[inbound(None, topic=TOPICS.state)]]) == []
    assert store.blocks == []


async def test_a_dead_letter_becomes_a_row_when_it_is_back(
    recorder: Recorder, store: MemoryStore
) -> None:
    (letter,) = await recorder.record([[inbound(b"junk", 7)]])
    back = Inbound(
        TOPICS.dead_letters, 1, 2, letter.key, letter.value, letter.headers, 1_767_323_045_000
    )
    assert await recorder.record([[back]]) == []
    ((row,),) = store.rows
    told = dict(zip(LETTER_COLUMNS, row, strict=True))
    assert (told["topic"], told["partition"], told["offset"]) == (TOPICS.metrics, 3, 7)
    assert (told["_topic"], told["_partition"], told["_offset"]) == (TOPICS.dead_letters, 1, 2)
    assert (told["payload"], told["key"], told["schema_id"]) == (b"junk", b"k", None)
    assert told["error_type"] == "Undecodable"


def test_headers_of_a_dead_letter_may_lie() -> None:
    headers = [("x-dlq-partition", b"\xff"), ("x-dlq-offset", b"9" * 40), ("x-dlq-schema-id", b"z")]
    row = letter_row(Inbound("d", 1, 2, None, None, headers, 0))
    assert row[:3] == ("d", 1, 2)
    assert row[6] == 0


def test_a_token_tells_equal_offsets_of_other_contents_apart() -> None:
    records = [inbound(b"a", 1), inbound(b"b", 5)]
    assert token(records, b"x").startswith("x.metrics:3:1-5:")
    assert token(records, b"x") == token(records, b"x") != token(records, b"y")
