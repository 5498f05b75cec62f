"""Partitions as a whole: where they begin and end, what they hold, and how they are filled anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from crewstream.contracts.connection import KafkaConnection
from crewstream.errors import Unreachable
from crewstream.records import Inbound
from crewstream.runtime.book import inbound
from crewstream.runtime.fence import MOST_REQUEST_BYTES

Place = tuple[str, int]
"""A topic and one of its partitions."""

POLL_MS = 200
# What is on its way to the brokers at once.
MOST_RECORDS, MOST_BYTES = 2000, 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Span:
    """Offsets from `start` up to `end`, which is not in it."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Written:
    """How many records a partition got, and where offsets that were asked about are now."""

    records: int
    moved: Mapping[int, int]


class PartitionReader:
    """Reads its partitions without being a member of any group. Its methods raise Unreachable."""

    def __init__(self, connection: KafkaConnection, consumer: AIOKafkaConsumer) -> None:
        self._connection, self._consumer = connection, consumer

    async def starts(self, places: Iterable[Place]) -> dict[Place, int]:
        """The first offset that each partition still has."""
        with told(self._connection):
            found = await self._consumer.beginning_offsets([TopicPartition(*p) for p in places])
        return {(tp.topic, tp.partition): offset for tp, offset in found.items()}

    async def ends(self, places: Iterable[Place]) -> dict[Place, int]:
        """The offset that each partition's next record gets."""
        with told(self._connection):
            found = await self._consumer.end_offsets([TopicPartition(*p) for p in places])
        return {(tp.topic, tp.partition): offset for tp, offset in found.items()}

    async def since(self, places: Iterable[Place], at_ms: int) -> dict[Place, int]:
        """The first offset of each partition that is of that time or later, else its end."""
        places = list(places)
        with told(self._connection):
            times = {TopicPartition(*place): at_ms for place in places}
            found = await self._consumer.offsets_for_times(times)
        later = {(tp.topic, tp.partition): at.offset for tp, at in found.items() if at}
        return await self.ends(places) | later

    async def read(
        self, spans: Mapping[Place, Span]
    ) -> AsyncGenerator[tuple[Place, Sequence[Inbound]], None]:
        """What stands in these spans, in order within each partition; some offsets may be empty."""
        consumer = self._consumer
        left = {TopicPartition(*p): span.end for p, span in spans.items() if span.start < span.end}
        for tp in left:
            consumer.seek(tp, spans[tp.topic, tp.partition].start)
        consumer.resume(*left)
        while left:
            with told(self._connection):
                taken = await consumer.getmany(*left, timeout_ms=POLL_MS)
            for tp, records in taken.items():
                found = [inbound(record) for record in records if record.offset < left[tp]]
                if found:
                    yield (tp.topic, tp.partition), found
            with told(self._connection):
                at = {tp: await consumer.position(tp) for tp in left}
            done = [tp for tp, end in left.items() if at[tp] >= end]
            consumer.pause(*done)
            left = {tp: end for tp, end in left.items() if tp not in done}


class PartitionWriter:
    """Writes records where they belong, with the time that they had."""

    def __init__(self, connection: KafkaConnection, producer: AIOKafkaProducer) -> None:
        self._connection, self._producer = connection, producer

    async def write(
        self, place: Place, records: Iterable[Inbound], *, end: int, asked: Iterable[int]
    ) -> Written:
        """Write the records, each confirmed, and say where the `asked` old offsets are now.

        An old offset of which the record is gone becomes that of the next one; one behind the last
        record, or with no record at all, becomes the partition's end, which is `end` before.
        Raises Unreachable.
        """
        moves = _Moves(sorted(set(asked)), end)
        under_way: list[tuple[int, asyncio.Future[Any]]] = []
        count = size = 0
        with told(self._connection):
            for record in records:
                under_way.append((record.offset, await self._send(place, record)))
                count, size = count + 1, size + len(record.value or b"")
                if len(under_way) >= MOST_RECORDS or size >= MOST_BYTES:
                    await moves.settle(under_way)
                    under_way, size = [], 0
            await moves.settle(under_way)
        return Written(count, moves.done())

    async def _send(self, place: Place, record: Inbound) -> asyncio.Future[Any]:
        # aiokafka sends nothing that has neither key nor value.
        nothing = record.key is None and record.value is None
        delivery: asyncio.Future[Any] = await self._producer.send(
            place[0],
            b"" if nothing else record.value,
            key=record.key,
            partition=place[1],
            timestamp_ms=record.timestamp_ms,
            headers=list(record.headers),
        )
        return delivery


class _Moves:
    """Where old offsets are now, found while the records are written in order."""

    def __init__(self, asked: Sequence[int], end: int) -> None:
        self._asked, self._end = list(asked), end
        self._moved: dict[int, int] = {}

    async def settle(self, under_way: Iterable[tuple[int, asyncio.Future[Any]]]) -> None:
        for old, delivery in under_way:
            new: int = (await delivery).offset
            while self._asked and self._asked[0] <= old:
                self._moved[self._asked.pop(0)] = new
            self._end = new + 1

    def done(self) -> Mapping[int, int]:
        return self._moved | dict.fromkeys(self._asked, self._end)


@asynccontextmanager
async def reader(
    connection: KafkaConnection, places: Iterable[Place]
) -> AsyncIterator[PartitionReader]:
    """A reader of these partitions, started and stopped. Raises Unreachable."""
    consumer = AIOKafkaConsumer(
        enable_auto_commit=False, auto_offset_reset="earliest", **connection.arguments()
    )
    with told(connection):
        try:
            await consumer.start()
            # All at once: aiokafka asks for the metadata of topics that it meets later one by one.
            assigned = [TopicPartition(*place) for place in places]
            consumer.assign(assigned)
            consumer.pause(*assigned)
            await asyncio.sleep(0)  # its tasks begin: one that never ran makes `stop` raise
            yield PartitionReader(connection, consumer)
        finally:
            await consumer.stop()


@asynccontextmanager
async def writer(connection: KafkaConnection) -> AsyncIterator[PartitionWriter]:
    """A writer, started and stopped. Raises Unreachable."""
    producer = AIOKafkaProducer(
        acks="all",
        enable_idempotence=True,
        compression_type="lz4",
        max_request_size=MOST_REQUEST_BYTES,
        **connection.arguments(),
    )
    with told(connection):
        try:
            await producer.start()
            yield PartitionWriter(connection, producer)
        finally:
            await producer.stop()


@contextmanager
def told(connection: KafkaConnection) -> Iterator[None]:
    """Says what Kafka's errors mean to us."""
    try:
        yield
    except KafkaError as error:
        raise Unreachable(
            f"Kafka at {connection.bootstrap} does not answer or refuses: {error!r}"
        ) from error
