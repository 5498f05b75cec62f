"""The Faust app of the coordinator: its topics, its tables, its one processor, its timers."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from crewstream.errors import Misconfigured
from crewstream.runtime.application import Application
from crewstream.runtime.batcher import Batcher, Prepare
from crewstream.runtime.ledger import Ledger
from crewstream.runtime.recall import Recall
from crewstream.runtime.rows import LocalRows, MemoryRows, RocksRows
from crewstream.runtime.slots import Slot
from crewstream.runtime.timers import Due, Timers, TimerService

if TYPE_CHECKING:
    from crewstream.contracts.connection import KafkaConnection
    from crewstream.ports import Rows
    from crewstream.records import Inbound, Outbound
    from crewstream.runtime.options import RuntimeOptions


class CoordinatorProcessor(Protocol):
    """What the coordinator decides, without knowing Kafka."""

    def handle(self, record: Inbound, rows: Rows) -> Sequence[Outbound]:
        """What an event causes, in the order to send. Pure; raises only for a bug."""
        ...

    def due(self, topic: str, value: bytes) -> datetime | None:
        """When the next timer of a stored row of a table is due."""
        ...

    def fire(self, key: bytes, due: datetime) -> Outbound:
        """The signal of a timer that is due; without a partition it goes to the row's own."""
        ...


def coordinator_app(
    kafka: KafkaConnection,
    options: RuntimeOptions,
    processor: CoordinatorProcessor,
    *,
    sources: Sequence[str],
    tables: Sequence[str],
    timed: Sequence[str],
    prepare: Prepare | None = None,
    once: Sequence[str] = (),
) -> Application:
    """An app whose processor reads `sources` and owns the rows of `tables` (changelog topics).

    An Outbound to one of `tables` is a write to the row of its key, in the partition of the event;
    any other is sent as it is. The rows of tables in `timed` have timers. `prepare` is awaited
    with the records of a batch before they are handled; while it raises Transient they wait.
    Outputs to topics in `once` are not repeated after a crash (see `recall`).
    All topics read and all tables must have `options.partitions` partitions; they exist already.
    """
    app = Application(kafka, options, fenced=True)
    app.copartitioned = {*sources, *tables, *once}
    app.topics_used.update(once)
    rows = _rows_of(app)
    ledgers = {topic: Ledger(app, topic, rows) for topic in tables}
    for ledger in ledgers.values():
        app.tables.add(ledger)
    recall = Recall(kafka, once) if once else None
    timers = {topic: Timers() for topic in timed}
    services = [
        _timer_service(app, topic, ledgers[topic], timers[topic], processor) for topic in timed
    ]
    batcher = Batcher(app, ledgers, processor, timers=timers, prepare=prepare, recall=recall)
    app.before_revoke.append(batcher.settle)
    app.before_stop.append(batcher.settle)

    @app.agent(app.raw_topic(*sources), name="coordinate")
    async def coordinate(stream: Any) -> None:
        await batcher.run(stream.noack())

    for service in services:
        app.task(service.run)
    return app


def _rows_of(app: Application) -> Callable[[], LocalRows]:
    """Opens the local rows on first use: by then we know the cluster that they belong to."""

    @functools.cache
    def rows() -> LocalRows:
        if app.options.store == "memory":
            return MemoryRows()
        if app.cluster is None:
            raise Misconfigured("an app has to join a cluster before its rows can be opened")
        slot = Slot(app.options.datadir / app.options.app_id / app.cluster.id)
        found = RocksRows(slot.path / "rows")
        app.after_stop += [found.close, slot.release]
        return found

    return rows


def _timer_service(
    app: Application, topic: str, ledger: Ledger, timers: Timers, processor: CoordinatorProcessor
) -> TimerService:
    def due_of(partition: int, key: bytes) -> datetime | None:
        value = ledger.row(partition, key)
        return None if value is None else processor.due(topic, value)

    async def send(due: Due) -> None:
        out = processor.fire(due.key, due.due)
        partition = due.partition if out.partition is None else out.partition
        delivery: asyncio.Future[Any] = await app.kafka_producer.send(
            out.topic, out.value, key=out.key, partition=partition, headers=list(out.headers)
        )
        delivery.add_done_callback(asyncio.Future.exception)  # sent again later if it failed

    service = TimerService(
        timers,
        send=send,
        due_of=due_of,
        keys_of=ledger.keys_of,
        may_send=lambda: app.kafka_consumer.flow_active and bool(app.kafka_consumer.books),
    )
    ledger.recovered.append(service.recovered)
    ledger.changed.append(service.changed)
    ledger.lost.append(service.lost)
    app.after_stop.append(service.stop)
    return service
