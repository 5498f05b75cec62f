"""The Faust app of the worker: one processor per project topic, many runs at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from aiokafka.errors import KafkaError, KafkaTimeoutError
from typing_extensions import override

from crewstream.errors import Unreachable
from crewstream.runtime.application import Application
from crewstream.runtime.backoff import Backoff
from crewstream.runtime.dispatcher import Dispatcher, Held, Intake

if TYPE_CHECKING:
    from faust.types import TP

    from crewstream.contracts.connection import KafkaConnection
    from crewstream.domain.job import Job
    from crewstream.domain.window import Window
    from crewstream.records import Inbound, Outbound
    from crewstream.runtime.book import Book
    from crewstream.runtime.options import RuntimeOptions

_log = logging.getLogger(__name__)


class WorkerProcessor(Protocol):
    """What a worker does with an assignment."""

    async def handle(self, record: Inbound) -> Sequence[Outbound]:
        """Run it; what is returned is sent and confirmed, then the assignment is acknowledged.

        Raises Transient to be called again later; any other exception ends the process. It is
        cancelled when its partition goes to another worker, or when the grace time is over.
        """
        ...


class WorkerApplication(Application):
    """An app whose records may be open for as long as a run takes."""

    dispatcher: Dispatcher

    @override
    def stalled(self, tp: TP, book: Book) -> bool:
        return self.dispatcher.stuck(tp, book)

    def flowing(self) -> bool:
        """Whether any work may begin: not once a rebalance or a stop has begun."""
        return not self.should_stop and self.kafka_consumer.flow_active

    def open_bytes(self) -> int:
        """The size of all records that are not done."""
        return sum(book.open_bytes for book in self.kafka_consumer.books.values())


def worker_app(
    kafka: KafkaConnection,
    options: RuntimeOptions,
    processor: WorkerProcessor,
    *,
    topics: Sequence[str],
    limit: int,
    window: Window[Held],
    describe: Callable[[Inbound], Job | None],
    unwanted: Callable[[str], bool] = lambda _: False,
) -> WorkerApplication:
    """An app that reads each of `topics` by a processor of its own and runs at most `limit`.

    `window` chooses among the jobs that `describe` sees in records; a record without a job is run
    at once. A job whose name is `unwanted` when it comes is acknowledged and not run.
    """
    app = WorkerApplication(kafka, options, fenced=False)

    async def work(record: Inbound) -> None:
        await _deliver(app, await processor.handle(record))

    intake = Intake(describe, unwanted, app.working, app.flowing)
    app.dispatcher = Dispatcher(limit, work, intake, window)
    app.probes.append(app.dispatcher.waits)
    app.before_stop.append(lambda: app.dispatcher.drain(options.drain_grace_s))

    async def on_assigned(_app: Any, assigned: Any, **_: Any) -> None:
        app.dispatcher.keep_only(assigned)

    app.on_partitions_assigned.connect(cast("Any", on_assigned), weak=False)
    for topic in topics:
        app.agent(app.raw_topic(topic), name=topic)(_intake(app.dispatcher))
    return app


def _intake(dispatcher: Dispatcher) -> Any:
    async def intake(stream: Any) -> None:
        async for batch in stream.noack():
            dispatcher.submit(batch)

    return intake


async def _deliver(app: Application, outputs: Sequence[Outbound]) -> None:
    """Send and confirm; while Kafka is away the outputs wait here, so nothing is run again."""
    backoff = Backoff(first_s=0.2, most_s=10.0)
    while True:
        try:
            return await _send_all(app, outputs)
        except Unreachable as exc:
            _log.warning("results wait: %s", exc)
            await asyncio.sleep(backoff.next_s())


async def _send_all(app: Application, outputs: Sequence[Outbound]) -> None:
    try:
        deliveries = [
            await app.kafka_producer.send(
                out.topic, out.value, key=out.key, partition=out.partition,
                headers=list(out.headers),
            )
            for out in outputs
        ]  # fmt: skip
        for delivery in deliveries:
            await delivery
    except KafkaError as exc:
        if exc.retriable or isinstance(exc, KafkaTimeoutError):
            raise Unreachable(f"Kafka at {app.kafka.bootstrap} takes no records: {exc!r}") from exc
        raise
