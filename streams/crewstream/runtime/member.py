"""Owns the AIOKafkaConsumer in the app's own event loop, and answers what Faust asks a consumer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, cast

import faust.streams
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import ConsumerStoppedError, KafkaError
from faust.exceptions import ConsumerNotStarted
from faust.transport.consumer import Consumer as FaustConsumer
from faust.types import TP
from mode import Service
from typing_extensions import override

from crewstream.errors import Misconfigured

if TYPE_CHECKING:
    from faust.tables.manager import TableManager

    from crewstream.runtime.transport import Transport

NOBODY = TopicPartition("", 0)
DAY_MS = 86_400_000


class Member(FaustConsumer):
    """One member of the consumer group; uses public methods of aiokafka only."""

    consumer_stopped_errors = (ConsumerStoppedError,)
    transport: Transport

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.app.client_only or self.in_transaction or self.app.conf.stream_publish_on_commit:
            raise Misconfigured("this transport is for at-least-once workers only")
        if getattr(faust.streams, "_CStreamIterator", None) is not None:
            raise Misconfigured("set NO_CYTHON=1 before faust is imported")
        self.kafka: AIOKafkaConsumer | None = None

    @override
    async def on_start(self) -> None:
        options = self.transport.options
        session_ms = int(options.session_timeout_s * 1000)
        self.kafka = AIOKafkaConsumer(
            group_id=options.app_id,
            client_id=options.app_id,
            partition_assignment_strategy=[self.app.assignor],
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_poll_records=options.batch_records,
            # aiokafka leaves the group when nothing was fetched for this long, and does not come
            # back while idle; a worker whose window is full of long runs fetches nothing.
            max_poll_interval_ms=DAY_MS,
            max_partition_fetch_bytes=options.max_record_bytes,
            fetch_max_wait_ms=options.fetch_max_wait_ms,
            request_timeout_ms=int(options.request_timeout_s * 1000),
            session_timeout_ms=session_ms,
            # While a batch is settled before a revoke, the group has to wait for us.
            rebalance_timeout_ms=session_ms + int(options.settle_timeout_s * 1000),
            heartbeat_interval_ms=session_ms // 6,
            # The default of 5 minutes is how long a topic created anew would not be read.
            metadata_max_age_ms=10_000,
            **self.transport.kafka.arguments(),
        )
        await self.kafka.start()

    @property
    def tables(self) -> TableManager:
        """Faust's own tables, recovery and changelog queue."""
        return cast("TableManager", self.app.tables)

    def ensure(self) -> AIOKafkaConsumer:
        """The client. Raises faust's ConsumerNotStarted before the start."""
        if self.kafka is None:
            raise ConsumerNotStarted("consumer not started")
        return self.kafka

    @Service.task
    async def _raise_group_errors(self) -> None:
        """A fatal group error is kept until somebody fetches; stock Faust never asks."""
        while not self.should_stop:
            await asyncio.sleep(1.0)
            try:
                await self.ensure().getmany(NOBODY)
            except ConsumerStoppedError:
                return
            except KafkaError as exc:
                if not exc.retriable:
                    raise

    @override
    def close(self) -> None:
        """Faust calls this for a rebalance during shutdown; `on_stop` follows and does the work."""

    @override
    async def _seek(self, partition: TP, offset: int) -> None:
        self.ensure().seek(TopicPartition(*partition), offset)

    @override
    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        for tp, offset in partitions.items():
            await self._seek(tp, max(offset, 0))

    @override
    async def position(self, tp: TP) -> int | None:
        position: int = await self.ensure().position(TopicPartition(*tp))
        return position

    @override
    def assignment(self) -> set[TP]:
        return {TP(*tp) for tp in self.ensure().assignment()}

    @override
    def highwater(self, tp: TP) -> int:
        """The end of the log as of the last fetch; 0 before the first one."""
        return self.ensure().highwater(TopicPartition(*tp)) or 0

    @override
    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        found = await self.ensure().beginning_offsets([TopicPartition(*tp) for tp in partitions])
        return {TP(*tp): offset for tp, offset in found.items()}

    @override
    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        found = await self.ensure().end_offsets([TopicPartition(*tp) for tp in partitions])
        return {TP(*tp): offset for tp, offset in found.items()}

    @override
    def topic_partitions(self, topic: str) -> int | None:
        return len(self.ensure().partitions_for_topic(topic) or ()) or None

    @override
    def key_partition(self, topic: str, key: bytes | None, partition: int | None = None) -> int:
        if partition is not None:
            return partition
        found: int = self.app.producer.key_partition(topic, key or b"").partition
        return found

    @override
    async def create_topic(self, topic: str, *_: Any, **__: Any) -> NoReturn:
        raise Misconfigured(f"topic {topic} is not ours to create (crewstream topics apply)")

    @override
    def _new_topicpartition(self, topic: str, partition: int) -> TP:
        return TP(topic, partition)

    @override
    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> NoReturn:
        raise NotImplementedError("Consumer.pump takes the records")

    @override
    async def subscribe(self, topics: Iterable[str]) -> None:
        self.ensure().subscribe(topics=set(topics), listener=self.transport.listener(self))
