"""Recorder figures: raw Avro blocks beside decoding in Python, into the same tables, in one run."""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol
from uuid import UUID

import fastavro
from bench.figures import Figure, at_least, at_most

from crewstream.adapters.clickhouse import Analytics, connect
from crewstream.analytics.migrations import Place, migrate
from crewstream.contracts import framing
from crewstream.contracts.codec import Codec
from crewstream.contracts.events import Measured, MeasuredStatus, Operation
from crewstream.contracts.schemas import Schemas
from crewstream.processors.recorder import Recorder, Topics
from crewstream.records import Inbound

BATCH = 10_000
BATCHES = 6
TOPICS = Topics("metrics", "state", "dead")


@dataclass(frozen=True, slots=True)
class Cost:
    """What one way of writing costs; CPU is that of all threads of this process."""

    rows_per_s: float
    cpu_us_per_row: float


class Write(Protocol):
    """One way to write a batch."""

    async def __call__(self, analytics: Analytics, batch: Sequence[Inbound]) -> None: ...


async def figures(batches: int = BATCHES) -> Sequence[Figure]:
    """Both ways, one after the other. Raises RuntimeError when rows are missing."""
    schemas = Schemas.load()
    codec = Codec(schemas)
    written = [_records(codec, n * BATCH) for n in range(batches + 1)]
    ours = await _measure(_as_blocks(codec, schemas), written)
    usual = await _measure(_decoded(schemas), written)
    core = 1e6 / ours.cpu_us_per_row
    return [
        Figure("recorder", "raw Avro blocks", ours.rows_per_s, "rows/s"),
        Figure("recorder", "raw Avro blocks, one core", core, "rows/s", at_least(50_000)),
        Figure("recorder", "raw Avro blocks: CPU", ours.cpu_us_per_row, "µs a row", at_most(12)),
        Figure("recorder", "decode + insert columns", usual.rows_per_s, "rows/s"),
        Figure("recorder", "decode + insert columns: CPU", usual.cpu_us_per_row, "µs a row"),
    ]


def _records(codec: Codec, start: int) -> Sequence[Inbound]:
    """A batch as a worker would send it: a chat call each, all fields set."""
    now = datetime.now(UTC)
    return [_record(codec, number, now) for number in range(start, start + BATCH)]


def _record(codec: Codec, number: int, now: datetime) -> Inbound:
    workflow = f"wf-{number // 20:08d}"
    event = Measured(
        event_id=str(UUID(int=number)),
        occurred_at=now - timedelta(milliseconds=number * 7),
        tenant_id=f"tenant-{number % 20}",
        project_id=("bizoholic", "coreldove")[number % 2],
        workflow_id=workflow,
        task_id=f"task-{number % 4}",
        assignment_id=f"{workflow}/task-{number % 4}/1",
        attempt=1,
        operation=Operation.CHAT,
        status=MeasuredStatus.OK,
        workflow_type="marketing_strategy",
        crew="marketing_strategy",
        task_type="campaign",
        agent=f"Agent {number % 8}",
        provider="openai",
        model="gpt-4o-mini",
        duration_ms=number % 3000 + 0.5,
        input_tokens=number % 4000,
        output_tokens=number % 900,
        cost_usd=Decimal(number % 10_000).scaleb(-6),
        worker="worker-1",
        trace_id=f"{number:032x}",
        attributes={"finish_reason": "stop"},
    )
    return Inbound("metrics", 0, number, b"k", codec.encode(event), (), 0)


def _as_blocks(codec: Codec, schemas: Schemas) -> Write:
    """The recorder's own way."""
    recorders: dict[int, Recorder] = {}

    async def write(analytics: Analytics, batch: Sequence[Inbound]) -> None:
        # One for a whole run, as its process has: it asks for the columns once.
        if id(analytics) not in recorders:
            recorders[id(analytics)] = Recorder(analytics, codec, schemas, TOPICS)
        await recorders[id(analytics)].record([batch])

    return write


def _decoded(schemas: Schemas) -> Write:
    """The usual way: decode with fastavro, insert columns."""
    parsed = fastavro.parse_schema(schemas.current["Measured"])

    async def write(analytics: Analytics, batch: Sequence[Inbound]) -> None:
        rows: list[Any] = []
        for record in batch:
            stream = io.BytesIO((record.value or b"")[framing.HEADER_BYTES :])
            rows.append(fastavro.schemaless_reader(stream, parsed, None))
        values = [
            (*row.values(), record.topic, record.partition, record.offset)
            for row, record in zip(rows, batch, strict=True)
        ]
        names = [*rows[0], "_topic", "_partition", "_offset"]
        await analytics.insert_rows("events", names, values)

    return write


async def _measure(write: Write, batches: Sequence[Sequence[Inbound]]) -> Cost:
    """Write the batches into a fresh database; the first one warms up and is not counted."""
    with tempfile.TemporaryDirectory(prefix="crewstream-bench-") as folder:
        async with connect(f"chdb://{folder}/data") as analytics:
            await migrate(analytics, Place(analytics.database))
            await write(analytics, batches[0])
            wall_s, cpu_s = time.perf_counter(), time.process_time()
            for batch in batches[1:]:
                await write(analytics, batch)
            wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
            stored = (await analytics.query("SELECT count() FROM v_events")).rows[0][0]
    if stored != BATCH * len(batches):
        raise RuntimeError(f"{stored} rows of {BATCH * len(batches)} are there")
    rows = BATCH * (len(batches) - 1)
    return Cost(rows / wall_s, cpu_s / rows * 1e6)
