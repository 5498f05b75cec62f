"""The recorder's process: rows into ClickHouse, which it serves itself when it is embedded."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

from crewstream import topology
from crewstream.adapters.clickhouse import Dsn, connect
from crewstream.adapters.prometheus import Metrics
from crewstream.adapters.sender import sender
from crewstream.analytics.migrations import Place, migrate
from crewstream.analytics.objectives import Objectives, keep
from crewstream.app import traces
from crewstream.app.advising import advising
from crewstream.app.common import avro_of, full_names, probes, topics_of, until_told
from crewstream.app.standings import publish_always
from crewstream.config import Settings
from crewstream.contracts.topics import Topics
from crewstream.processors import recorder as recording
from crewstream.records import Outbound
from crewstream.runtime.plain import Batch, PlainLoop, PlainOptions

MOST_ROWS = 10_000
"""In one insert when there is a backlog: half the price a row of one of 2 000."""


async def run(settings: Settings) -> int:
    """Measurements, state and dead letters -> ClickHouse rows."""
    dsn = settings.clickhouse_dsn.get_secret_value()
    topics, metrics = topics_of(settings), Metrics()
    objectives, advice = Objectives.load(settings.slo), topics.full(topology.ADVICE)
    names = recorded(topics)
    async with (
        avro_of(settings, topics) as avro,
        connect(dsn) as store,
        _face(Dsn.parse(dsn), settings),
        sender(settings.kafka) as out,
    ):
        await migrate(store, Place(store.database))
        if objectives is not None:
            await keep(objectives, store)
        processor = recording.Recorder(store, avro.codec, avro.schemas, names, avro.registry)

        async def record(batch: Batch) -> None:
            with metrics.timed("crewstream_insert_seconds"):
                dead = await processor.record(batch.values())
            await out.send(dead)
            _count(metrics, batch, dead)

        loop = PlainLoop(
            settings.kafka,
            PlainOptions(
                group=f"{settings.prefix}-recorder",
                topics=full_names(topics, topology.RECORDER.reads),
                session_timeout_s=settings.session_timeout_s,
                max_records=MOST_ROWS,
            ),
            record,
        )
        async with (
            advising(settings, out, avro.codec, advice, metrics),
            _standings(settings),
            traces.following(settings, topics, avro),
            probes(settings, "recorder", loop.health, metrics, loop.behind),
        ):
            return await until_told(loop.run())


@asynccontextmanager
async def _standings(settings: Settings) -> AsyncIterator[None]:
    """How agents stand is published in here; what goes wrong with it stops no record."""
    work = asyncio.create_task(publish_always(settings)) if settings.standings_every_s else None
    try:
        yield
    finally:
        if work is not None:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)


def _count(metrics: Metrics, batch: Batch, dead: Sequence[Outbound]) -> None:
    """Every record is a row, but for tombstones and what was given up."""
    given_up = Counter(dict(letter.headers)["x-dlq-topic"].decode() for letter in dead)
    rows: Counter[str] = Counter()
    for (topic, _), records in batch.items():
        rows[topic] += sum(record.value is not None for record in records)
    for topic, count in rows.items():
        metrics.count("crewstream_rows_written_total", count - given_up[topic], topic=topic)
    for topic, count in given_up.items():
        metrics.count("crewstream_dead_letters_total", count, topic=topic)
    metrics.gauge("crewstream_last_insert_timestamp_seconds", time.time())


def recorded(topics: Topics) -> recording.Topics:
    """The topics of an installation that are recorded."""
    return recording.Topics(
        metrics=topics.full(topology.METRICS),
        state=topics.full(topology.STATE),
        dead_letters=topics.full(topology.DEAD_LETTERS),
    )


def _face(dsn: Dsn, settings: Settings) -> AbstractAsyncContextManager[object]:
    """The engine's HTTP face when it is embedded: no other process can open its folder."""
    if dsn.path is None:
        return nullcontext()
    from crewstream.embedded import clickhouse_key as key  # noqa: PLC0415  (only when embedded)
    from crewstream.embedded.clickhouse import READERS, ClickHouseFace  # noqa: PLC0415  (the same)
    from crewstream.embedded.clickhouse_wire import User  # noqa: PLC0415  (the same)

    users = (*READERS, User(key.WRITER, key.make(dsn.path), read_only=False))
    port, host = settings.clickhouse_port, settings.http_host
    return ClickHouseFace(dsn.path, host=host, port=port, database=dsn.database, users=users)
