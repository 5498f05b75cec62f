"""A plain consume-apply-commit loop for recorder and projector: at least once, no Faust."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from aiokafka.structs import ConsumerRecord
from typing_extensions import override

from crewstream.contracts.connection import KafkaConnection
from crewstream.errors import Transient
from crewstream.records import Inbound
from crewstream.runtime.backoff import Backoff
from crewstream.runtime.book import inbound
from crewstream.runtime.connection import wait_for_topics
from crewstream.runtime.health import Health
from crewstream.runtime.options import MEBIBYTE
from crewstream.runtime.outage import Outage

Batch = Mapping[tuple[str, int], Sequence[Inbound]]
"""Records in order of offset, by (topic, partition)."""
Handler = Callable[[Batch], Awaitable[None]]

IDLE_MS = 1000
LOOK_S = 2.0
DAY_MS = 86_400_000
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PlainOptions:
    """What a plain loop reads, and how much of it makes a batch: the first limit that is met."""

    group: str
    topics: Sequence[str]
    max_records: int = 5000
    max_bytes: int = 8 * MEBIBYTE
    max_wait_s: float = 0.5
    session_timeout_s: float = 10.0
    fetch_max_wait_ms: int = 100
    max_record_bytes: int = 8 * MEBIBYTE
    most_backoff_s: float = 30.0


class Refillable(Protocol):
    """A sink that can be emptied behind our back, and is filled again from the whole log."""

    async def lost(self, partitions: Collection[int]) -> Collection[int]:
        """Those of the partitions that are not in it, as after it was emptied. May raise Transient.

        By partition, since each is filled by the member that owns it.
        """
        ...

    async def filling(self, partitions: Collection[int]) -> None:
        """From now on it is being filled from their start. May raise Transient."""
        ...


class _Taken:
    """Records taken and not yet applied."""

    def __init__(self) -> None:
        self.batch: dict[tuple[str, int], list[Inbound]] = {}
        self.records = self.bytes = 0
        self.since_s = 0.0

    def add(self, found: Mapping[TopicPartition, Sequence[ConsumerRecord]]) -> None:
        if found and not self.records:
            self.since_s = time.monotonic()
        for tp, records in found.items():
            self.batch.setdefault(tuple(tp), []).extend(map(inbound, records))
            self.records += len(records)
            self.bytes += sum(len(record.value or b"") for record in records)

    def wait_s(self, limit_s: float) -> float:
        """How much longer to wait for more, of `limit_s`."""
        return max(0.0, self.since_s + limit_s - time.monotonic())


class PlainLoop(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka.* is untyped for us
    """Reads, applies, commits, in this order.

    After a crash or a rebalance a batch may come again, cut differently: `handler` must bear it.
    """

    def __init__(
        self,
        kafka: KafkaConnection,
        options: PlainOptions,
        handler: Handler,
        *,
        sink: Refillable | None = None,
    ) -> None:
        self._kafka, self._options, self._handler, self._sink = kafka, options, handler, sink
        self._looked_s = -LOOK_S
        self._applying = asyncio.Lock()
        self._epoch = 0
        self._assigned = False
        self._outage = Outage("what this group writes to")
        self._done: dict[TopicPartition, int] = {}
        """The offset that comes next, of partitions of which something came."""
        self._consumer: AIOKafkaConsumer | None = None

    async def run(self) -> None:
        """Run until cancelled. Waits out Transient errors; any other ends the loop."""
        await wait_for_topics(self._kafka, self._options.topics)
        self._consumer = consumer = self._new_consumer()
        consumer.subscribe(list(self._options.topics), listener=self)
        await consumer.start()
        try:
            while True:
                await self._refill(consumer)
                batch, epoch = await self._collect(consumer)
                if batch:
                    firsts = {TopicPartition(*tp): found[0].offset for tp, found in batch.items()}
                    self._done |= firsts
                    await self._apply(consumer, batch, epoch)
        finally:
            self._assigned = False
            await consumer.stop()

    def health(self) -> Health:
        """For an HTTP probe."""
        problems = [] if self._assigned else ["no assignment yet"]
        if self._outage.why is not None:
            problems.append(self._outage.why)
        return Health(ready=not problems, problems=problems)

    def behind(self) -> Mapping[str, int]:
        """By topic, how many records of our partitions are not applied, as of the last fetch."""
        found = dict.fromkeys(self._options.topics, 0)
        for tp, offset in self._done.items():
            end: int | None = self._consumer.highwater(tp) if self._consumer else None
            found[tp.topic] += max(0, (end or 0) - offset)
        return found

    def _new_consumer(self) -> AIOKafkaConsumer:
        options = self._options
        return AIOKafkaConsumer(
            group_id=options.group,
            client_id=options.group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=int(options.session_timeout_s * 1000),
            heartbeat_interval_ms=int(options.session_timeout_s * 1000 / 6),
            max_poll_interval_ms=DAY_MS,  # an outage may last; we stay in the group meanwhile
            max_partition_fetch_bytes=options.max_record_bytes,
            fetch_max_wait_ms=options.fetch_max_wait_ms,
            metadata_max_age_ms=10_000,
            **self._kafka.arguments(),
        )

    async def _collect(self, consumer: AIOKafkaConsumer) -> tuple[Batch, int]:
        """A batch, empty when nothing came for a while, and the epoch that it belongs to."""
        options, taken, epoch = self._options, _Taken(), self._epoch
        while taken.records < options.max_records and taken.bytes < options.max_bytes:
            wait_s = taken.wait_s(options.max_wait_s)
            if taken.records and not wait_s:
                break
            found = await self._take(
                consumer,
                int(wait_s * 1000) if taken.records else IDLE_MS,
                options.max_records - taken.records,
            )
            # No await since the take: what was found belongs to the epoch that is now.
            if epoch != self._epoch:
                taken, epoch = _Taken(), self._epoch
            taken.add(found)
            if not taken.records:
                break
        return taken.batch, epoch

    async def _refill(self, consumer: AIOKafkaConsumer) -> None:
        """Begin at the start of the log again when the sink has been emptied."""
        if self._sink is None or time.monotonic() - self._looked_s < LOOK_S:
            return
        self._looked_s = time.monotonic()
        try:
            owned = {tp.partition: tp for tp in consumer.assignment()} if self._assigned else {}
            if lost := await self._sink.lost(owned.keys()):
                _log.warning("what was written is gone: reading the log from its start")
                starts = await consumer.beginning_offsets([owned[number] for number in lost])
                # Committed first: after a crash in between, it begins there once more.
                await consumer.commit(starts)
                for tp, offset in starts.items():
                    consumer.seek(tp, offset)
                await self._sink.filling(lost)
        except (Transient, CommitFailedError, IllegalStateError) as exc:
            _log.info("not refilled yet: %s", exc)

    async def _take(
        self, consumer: AIOKafkaConsumer, timeout_ms: int, most: int
    ) -> Mapping[TopicPartition, Sequence[ConsumerRecord]]:
        try:
            found: Mapping[TopicPartition, Sequence[ConsumerRecord]] = await consumer.getmany(
                timeout_ms=timeout_ms, max_records=most
            )
        except KafkaError as exc:
            if not exc.retriable:
                raise
            _log.warning("fetch: %r", exc)
            await asyncio.sleep(0.5)
            return {}
        return found

    async def _apply(self, consumer: AIOKafkaConsumer, batch: Batch, epoch: int) -> None:
        try:
            await self._until_applied(consumer, batch, epoch)
        finally:
            consumer.resume(*consumer.paused())

    async def _until_applied(self, consumer: AIOKafkaConsumer, batch: Batch, epoch: int) -> None:
        backoff = Backoff(first_s=0.2, most_s=self._options.most_backoff_s)
        while True:
            async with self._applying:
                if epoch != self._epoch:
                    return  # comes again, here or elsewhere
                try:
                    await self._handler(batch)
                except Transient as exc:
                    self._outage.goes_on(exc)
                    # The batch is kept, and nothing is fetched that there would be no place for.
                    consumer.pause(*consumer.assignment())
                else:
                    self._outage.is_over()
                    await self._commit(consumer, batch)
                    return
            await asyncio.sleep(backoff.next_s())

    async def _commit(self, consumer: AIOKafkaConsumer, batch: Batch) -> None:
        ends = {TopicPartition(*tp): records[-1].offset + 1 for tp, records in batch.items()}
        self._done |= ends
        try:
            await consumer.commit(ends)
        except (CommitFailedError, IllegalStateError) as exc:
            _log.info("a batch was applied and comes again after a rebalance: %r", exc)
        except KafkaError as exc:
            if not exc.retriable:
                raise
            _log.warning("commit: %r", exc)

    @override
    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        try:
            async with asyncio.timeout(self._options.session_timeout_s / 2), self._applying:
                pass  # the batch under way is applied and committed first
        except TimeoutError:
            _log.warning("a batch takes longer than a rebalance can wait; it comes again")
        self._epoch += 1
        self._assigned = False
        self._done.clear()

    @override
    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._epoch += 1
        self._assigned = True
