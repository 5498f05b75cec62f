"""Applies what arrived meanwhile, in order; confirms its outputs, then its rows; acknowledges.

Rows are sent only when all outputs of their batch are confirmed. So a row in its changelog says
that what follows from it is out, and an event that comes again needs nothing but to be ignored.

Several batches are under way at a time: the next is applied to rows whose changelog records are
still on their way. So a failure leaves memory ahead of Kafka, and the only safe answer is to leave.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from aiokafka.errors import KafkaError

from crewstream.errors import Transient
from crewstream.runtime.backoff import Backoff
from crewstream.runtime.leave import STATE_AHEAD, leave
from crewstream.runtime.recall import Recall, Said, name_of

if TYPE_CHECKING:
    from crewstream.ports import Rows
    from crewstream.records import Inbound, Outbound
    from crewstream.runtime.application import Application
    from crewstream.runtime.book import Record
    from crewstream.runtime.ledger import Ledger, Write
    from crewstream.runtime.timers import Timers

Delivery = asyncio.Future[Any]
Prepare = Callable[[Sequence["Inbound"]], Awaitable[None]]
Look = Callable[[Sequence["Record"]], Awaitable[None]]
_log = logging.getLogger(__name__)


class Handler(Protocol):
    """Turns an event into what it causes. Pure; raises only for a bug."""

    def handle(self, record: Inbound, rows: Rows) -> Sequence[Outbound]: ...


class PartitionRows:
    """The rows of one partition, with the writes of the batch under way: the `Rows` port."""

    __slots__ = ("_partition", "_tables")

    def __init__(self, tables: Mapping[str, Ledger], partition: int) -> None:
        self._tables, self._partition = tables, partition

    def get(self, topic: str, key: bytes) -> bytes | None:
        """The row. Raises KeyError for a topic that is not a table here."""
        return self._tables[topic].row(self._partition, key)


class Batcher:
    """Batches between their arrival and their acknowledgement."""

    def __init__(
        self,
        app: Application,
        tables: Mapping[str, Ledger],
        handler: Handler,
        *,
        timers: Mapping[str, Timers],
        prepare: Prepare | None = None,
        recall: Recall | None = None,
    ) -> None:
        self._prepare, self._recall = prepare, recall
        self._said: dict[int, tuple[int, Said]] = {}
        """By partition: the generation for which was looked, and what had been said."""
        self._app, self._tables, self._handler = app, tables, handler
        self._timers = timers
        self._open: set[asyncio.Task[None]] = set()
        self._rows_sent: dict[int, asyncio.Future[None]] = {}
        """By partition: when the rows of its newest batch are on their way."""
        self._applying = asyncio.Lock()

    async def run(self, stream: AsyncIterable[Sequence[Record]]) -> None:
        """Apply batches as they come; nothing begins once a rebalance or a stop has begun."""
        async for batch in stream:
            await self._until_there(self._recalled, batch)
            await self._until_there(self._prepared, batch)
            async with self._applying:
                if self._app.working(batch[0]):
                    await self._apply(batch)

    async def _until_there(self, look: Look, batch: Sequence[Record]) -> None:
        """Repeat a look at something outside until it is there, or the batch is not ours."""
        backoff, waiting = Backoff(first_s=0.2, most_s=5.0), False
        while self._app.working(batch[0]):
            try:
                await look(batch)
            except (Transient, KafkaError) as exc:
                if not waiting:
                    _log.warning("%s waits: %s", batch[0].inbound.position, exc)
                waiting = True
                await asyncio.sleep(backoff.next_s())
            else:
                break

    async def _prepared(self, batch: Sequence[Record]) -> None:
        if self._prepare is not None:
            await self._prepare([record.inbound for record in batch])

    async def _recalled(self, batch: Sequence[Record]) -> None:
        partition, generation = batch[0].inbound.partition, batch[0].generation
        known = self._said.get(partition)
        if self._recall is not None and (known is None or known[0] != generation):
            self._said[partition] = generation, await self._recall.said(partition)

    def _was_said(self, out: Outbound, record: Record) -> bool:
        if self._recall is None or out.topic not in self._recall.topics:
            return False
        _, said = self._said[record.inbound.partition]
        return (out.topic, name_of(out.headers)) in said

    async def _apply(self, batch: Sequence[Record]) -> None:
        partition = batch[0].inbound.partition
        rows = PartitionRows(self._tables, partition)
        outputs: list[Delivery] = []
        beside: list[tuple[Ledger, Write]] = []
        writes: list[tuple[Ledger, Write]] = []
        for record in batch:
            try:
                for out in self._handler.handle(record.inbound, rows):
                    if out.topic in self._tables:
                        rows_of = writes if out.topic in self._timers else beside
                        rows_of.append(self._hold(out, partition))
                    elif not self._was_said(out, record):
                        outputs.append(await self._send(out))
            except Exception as exc:  # noqa: BLE001
                leave(STATE_AHEAD, f"{record.inbound.position} cannot be applied", cause=exc)
        before, sent = self._rows_sent.get(partition), asyncio.get_running_loop().create_future()
        self._rows_sent[partition] = sent
        waiter = asyncio.create_task(self._confirm(batch, outputs, (beside, writes), before, sent))
        self._open.add(waiter)
        waiter.add_done_callback(self._open.discard)

    def _hold(self, out: Outbound, partition: int) -> tuple[Ledger, Write]:
        if out.key is None:
            raise ValueError(f"a row of {out.topic} without a key")
        table = self._tables[out.topic]
        if (timers := self._timers.get(out.topic)) is not None:
            timers.set(partition, out.key, out.due_at)
        return table, table.hold(partition, out.key, out.value, out.headers)

    async def _send(self, out: Outbound) -> Delivery:
        delivery: Delivery = await self._app.kafka_producer.send(
            out.topic, out.value, key=out.key, partition=out.partition, headers=list(out.headers)
        )
        return delivery

    async def _confirm(
        self,
        batch: Sequence[Record],
        outputs: Sequence[Delivery],
        writes: Sequence[Sequence[tuple[Ledger, Write]]],
        before: asyncio.Future[None] | None,
        sent: asyncio.Future[None],
    ) -> None:
        try:
            for delivery in outputs:
                await delivery
            if before is not None:
                await before  # rows reach their changelog in the order in which they changed
            beside, rows = writes
            # Of several brokers, one may fail between two tables: a workflow's row, by which its
            # event is known to be done, never gets in before what belongs to it.
            for delivery in [await table.send(write) for table, write in beside]:
                await delivery
            deliveries = [await table.send(write) for table, write in rows]
            sent.set_result(None)
            for delivery in deliveries:
                await delivery
        except Exception as exc:  # noqa: BLE001
            position = batch[0].inbound.position
            leave(STATE_AHEAD, f"the effects of {position} cannot be delivered", cause=exc)
        for record in batch:
            record.ack()

    async def settle(self) -> None:
        """What was begun is confirmed and acknowledged before partitions go or the app stops."""
        async with self._applying:
            pass
        patience_s = self._app.options.settle_timeout_s / 2
        while self._open:
            done, _ = await asyncio.wait(self._open, timeout=patience_s)
            if not done:
                leave(STATE_AHEAD, f"no delivery confirmed for {patience_s} s")
