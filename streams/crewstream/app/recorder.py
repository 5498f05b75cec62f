"""The recorder's process: rows into ClickHouse, which it serves itself when it is embedded."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext

from crewstream import topology
from crewstream.adapters.clickhouse import Dsn, connect
from crewstream.adapters.prometheus import Metrics
from crewstream.adapters.sender import sender
from crewstream.analytics.migrations import Place, migrate
from crewstream.analytics.objectives import Objectives, keep
from crewstream.app.advising import advising
from crewstream.app.common import avro_of, full_names, probes, topics_of, until_told
from crewstream.config import Settings
from crewstream.processors import recorder as recording
from crewstream.runtime.plain import Batch, PlainLoop, PlainOptions

MOST_ROWS = 10_000
"""In one insert when there is a backlog: half the price a row of one of 2 000."""


async def run(settings: Settings) -> int:
    """Measurements, state and dead letters -> ClickHouse rows."""
    dsn = settings.clickhouse_dsn.get_secret_value()
    topics, metrics = topics_of(settings), Metrics()
    objectives, advice = Objectives.load(settings.slo), topics.full(topology.ADVICE)
    names = recording.Topics(
        metrics=topics.full(topology.METRICS),
        state=topics.full(topology.STATE),
        dead_letters=topics.full(topology.DEAD_LETTERS),
    )
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
            dead = await processor.record(batch.values())
            await out.send(dead)
            metrics.count("crewstream_dead_letters_total", len(dead), topic="recorder")
            for (topic, _), records in batch.items():
                metrics.count("crewstream_rows_written_total", len(records), topic=topic)

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
            probes(settings, "recorder", loop.health, metrics),
        ):
            return await until_told(loop.run())


def _face(dsn: Dsn, settings: Settings) -> AbstractAsyncContextManager[object]:
    """The engine's HTTP face when it is embedded: no other process can open its folder."""
    if dsn.path is None:
        return nullcontext()
    from crewstream.embedded.clickhouse import ClickHouseFace  # noqa: PLC0415  (only when embedded)

    port, host = settings.clickhouse_port, settings.http_host
    return ClickHouseFace(dsn.path, host=host, port=port, database=dsn.database)
