"""Reading a topic: from now, from its beginning or a time, or where a group has left off."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaConnectionError,
    KafkaError,
    UnknownTopicOrPartitionError,
)

from crewstream.contracts.connection import KafkaConnection
from crewstream.errors import Unreachable
from crewstream.records import Inbound

log = logging.getLogger(__name__)

Start = Literal["now", "beginning"]

POLL_MS = 500
COMMIT_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Reading:
    """What is read: all partitions of a topic or one, from where, and whether to go on at its end.

    A `group` goes on where it has left off; `start` is for a new one. `since` needs `partition`.
    """

    topic: str
    start: Start = "now"
    group: str | None = None
    follow: bool = True
    partition: int | None = None
    since: datetime | None = None


async def read(connection: KafkaConnection, reading: Reading) -> AsyncGenerator[Inbound, None]:
    """The records. With a group, a record counts as done when the next one is asked for.

    Raises Unreachable.
    """
    async with opened(connection, reading) as consumer:
        done = _Done(consumer, commits=reading.group is not None)
        ends = None if reading.follow else await consumer.end_offsets(consumer.assignment())
        try:
            while ends is None or not await _reached(consumer, ends):
                with unreachable(connection):
                    batches = await consumer.getmany(timeout_ms=POLL_MS)
                for record in (record for records in batches.values() for record in records):
                    yield inbound(record)
                    await done.add(record)
                await done.commit_now_and_then()
        finally:
            await done.commit()


@asynccontextmanager
async def opened(connection: KafkaConnection, reading: Reading) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer that stands where reading starts. Raises Unreachable."""
    everything = [reading.topic] if reading.partition is None else []
    consumer = AIOKafkaConsumer(
        *everything,
        group_id=reading.group,
        enable_auto_commit=False,
        auto_offset_reset="earliest" if reading.start == "beginning" else "latest",
        **connection.arguments(),
    )
    try:
        with unreachable(connection):
            if reading.partition is not None:
                consumer.assign([TopicPartition(reading.topic, reading.partition)])
            await consumer.start()
            await _place(consumer, reading)
        yield consumer
    finally:
        await consumer.stop()


@contextmanager
def unreachable(connection: KafkaConnection) -> Iterator[None]:
    """Says what Kafka's own errors mean to us."""
    try:
        yield
    except KafkaConnectionError as error:
        raise Unreachable(
            f"Kafka at {connection.bootstrap} does not answer; start it (`crewstream up`), or name "
            "another (CREWSTREAM_KAFKA_BOOTSTRAP)"
        ) from error
    except UnknownTopicOrPartitionError as error:
        raise Unreachable(
            f"Kafka at {connection.bootstrap} has not this topic: `crewstream topics apply`"
        ) from error
    except KafkaError as error:
        raise Unreachable(f"Kafka at {connection.bootstrap} refuses: {error}") from error


def inbound(record: Any) -> Inbound:
    """A consumer's record, in our words."""
    return Inbound(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=record.key,
        value=record.value,
        headers=record.headers,
        timestamp_ms=record.timestamp,
    )


async def _place(consumer: AIOKafkaConsumer, reading: Reading) -> None:
    if reading.group is not None:
        return
    if reading.since is not None:
        asked = dict.fromkeys(consumer.assignment(), int(reading.since.timestamp() * 1000))
        for partition, found in (await consumer.offsets_for_times(asked)).items():
            if found is not None:
                consumer.seek(partition, found.offset)
    elif reading.start == "now":
        # Left to its first fetch, "latest" would be where the log ends then, not now.
        await consumer.seek_to_end()


async def _reached(consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int]) -> bool:
    try:
        return all([await consumer.position(p) >= end for p, end in ends.items()])
    except IllegalStateError:  # another member of the group has this partition now
        return True


class _Done:
    """What has been taken, and its commits: at most one a second, for they cost a round trip."""

    def __init__(self, consumer: AIOKafkaConsumer, *, commits: bool) -> None:
        self._consumer = consumer
        self._commits = commits
        self._offsets: dict[TopicPartition, int] = {}
        self._committed_at_s = time.monotonic()

    async def add(self, record: Any) -> None:
        if self._commits:
            self._offsets[TopicPartition(record.topic, record.partition)] = record.offset + 1
            await self.commit_now_and_then()

    async def commit_now_and_then(self) -> None:
        if time.monotonic() - self._committed_at_s >= COMMIT_EVERY_S:
            await self.commit()

    async def commit(self) -> None:
        self._committed_at_s = time.monotonic()
        offsets, self._offsets = self._offsets, {}
        if not offsets:
            return
        try:
            await self._consumer.commit(offsets)
        except (CommitFailedError, IllegalStateError) as error:
            # A rebalance: whoever has these partitions now reads these records again.
            log.info("not committed, will be read again", extra={"reason": str(error)})
