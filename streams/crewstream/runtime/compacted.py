"""A compacted topic as a dictionary: read from its start, then followed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from crewstream.contracts.connection import KafkaConnection
from crewstream.runtime.backoff import Backoff

_log = logging.getLogger(__name__)


class CompactedTopic:
    """Calls `changed(key, value)` for each record of a topic, the latest of a key last.

    An async context manager: entered when all that was there has been seen; then `follow` runs.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        topic: str,
        partitions: int,
        changed: Callable[[bytes, bytes], None],
    ) -> None:
        self._connection, self._topic, self._partitions = connection, topic, partitions
        self._changed = changed
        self._consumer: AIOKafkaConsumer | None = None

    async def __aenter__(self) -> Self:
        """Read to the present end of the topic. Raises KafkaError: no broker answers."""
        self._consumer = consumer = AIOKafkaConsumer(
            enable_auto_commit=False, auto_offset_reset="earliest", **self._connection.arguments()
        )
        await consumer.start()
        tps = [TopicPartition(self._topic, number) for number in range(self._partitions)]
        consumer.assign(tps)
        await self._begin(consumer, tps)
        ends = await consumer.end_offsets(tps)
        while any([await consumer.position(tp) < ends[tp] for tp in tps]):
            await self._take(consumer)
        return self

    async def follow(self) -> None:
        """See what comes, until cancelled; a broker that is away is waited for."""
        assert self._consumer is not None, "start it first"  # noqa: S101  (a caller's bug)
        backoff = Backoff(first_s=0.2, most_s=5.0)
        while True:
            try:
                await self._take(self._consumer)
            except KafkaError as error:
                _log.warning("%s cannot be read, trying again: %r", self._topic, error)
                await asyncio.sleep(backoff.next_s())

    async def __aexit__(self, *_: object) -> None:
        if self._consumer is not None:
            await self._consumer.stop()

    async def _begin(self, consumer: AIOKafkaConsumer, tps: Sequence[TopicPartition]) -> None:
        """Go to where reading begins."""
        await consumer.seek_to_beginning(*tps)

    async def _take(self, consumer: AIOKafkaConsumer) -> None:
        for records in (await consumer.getmany(timeout_ms=500)).values():
            for record in records:
                if record.key is not None and record.value is not None:
                    self._changed(record.key, record.value)
