"""The traces of workflows, sent to a collector of OpenTelemetry from the recorder's process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from crewstream import topology
from crewstream.adapters.otlp import Collector, headers
from crewstream.app.common import Avro
from crewstream.config import Settings
from crewstream.contracts.topics import Topics
from crewstream.processors.tracer import Tracer
from crewstream.runtime.plain import Batch, PlainLoop, PlainOptions

_log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def following(settings: Settings, topics: Topics, avro: Avro) -> AsyncIterator[None]:
    """Send a span for each measurement while the block runs, if a collector is set.

    It has a consumer group of its own: a collector that is away holds up no figures, and its spans
    wait in Kafka. Raises Misconfigured.
    """
    if not settings.otlp_endpoint:
        yield
        return
    collector = Collector(settings.otlp_endpoint, headers(settings.otlp_headers.get_secret_value()))
    tracer = Tracer(avro.codec)

    async def trace(batch: Batch) -> None:
        for records in batch.values():
            await avro.prepare(records)
            await collector.send(tracer.spans(records))

    options = PlainOptions(
        group=f"{settings.prefix}-tracer",
        topics=[topics.full(topology.METRICS)],
        session_timeout_s=settings.session_timeout_s,
        max_records=2000,
    )
    running = asyncio.create_task(PlainLoop(settings.kafka, options, trace).run())
    running.add_done_callback(_told)
    try:
        yield
    finally:
        running.cancel()
        await asyncio.wait([running])
        await collector.close()


def _told(task: asyncio.Task[None]) -> None:
    """Figures are worth more than traces: the recorder goes on without them, and says so."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("no more traces until the next start: %r", error)
