"""The Faust app that coordinator and worker are made of: settings, stop order, health."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import faust
from typing_extensions import override

from crewstream.runtime.connection import check_copartitioned
from crewstream.runtime.fence import FencedProducer, Producer
from crewstream.runtime.health import Health
from crewstream.runtime.transport import Transport
from crewstream.runtime.watchdog import Watchdog

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer
    from faust.types import TP

    from crewstream.contracts.connection import KafkaConnection
    from crewstream.runtime.book import Book, Record
    from crewstream.runtime.connection import Cluster
    from crewstream.runtime.consumer import Consumer
    from crewstream.runtime.options import RuntimeOptions

Hook = Callable[[], Awaitable[None]]


class Application(faust.App):
    """An app on our transport.

    `before_revoke` and `before_stop` hooks run before partitions go and at SIGTERM, while
    deliveries and commits still work; `after_stop` ones when nothing runs any more. `probes` name
    what the process waits for without being at fault. `copartitioned` topics must have
    `options.partitions` partitions, `topics_used` must exist.
    """

    def __init__(
        self, kafka: KafkaConnection, options: RuntimeOptions, *, fenced: bool, **settings: Any
    ) -> None:
        self.kafka, self.options = kafka, options
        self.before_revoke: list[Hook] = []
        self.before_stop: list[Hook] = []
        self.after_stop: list[Callable[[], None]] = []
        self.probes: list[Callable[[], set[str]]] = []
        self.copartitioned: set[str] = set()
        self.topics_used: set[str] = set()
        self.cluster: Cluster | None = None
        super().__init__(options.app_id, **_settings(options), **settings)
        producer = FencedProducer if fenced else Producer
        self.transport = Transport(self, kafka, options, producer)
        self.watchdog = Watchdog(self)

    def join(self, cluster: Cluster) -> None:
        """Before the start: this is where we run. Raises Misconfigured if topics do not fit."""
        check_copartitioned(cluster, self.copartitioned, self.options.partitions)
        self.cluster = cluster

    def raw_topic(self, *names: str, **extra: Any) -> Any:
        """Topics whose keys and values are bytes, in and out."""
        self.topics_used.update(names)
        return self.topic(
            *names,
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
            **extra,
        )

    @property
    def kafka_consumer(self) -> Consumer:
        return cast("Consumer", self.consumer)

    @property
    def kafka_producer(self) -> AIOKafkaProducer:
        return cast("Producer", self.producer).kafka

    def working(self, record: Record) -> bool:
        """Whether work on a record may begin: not once a rebalance or a stop has begun."""
        return not self.should_stop and self.kafka_consumer.working(record)

    def stalled(self, tp: TP, book: Book) -> bool:  # noqa: ARG002
        """Whether the open records of an unchanged book mean that something is stuck."""
        return bool(book.open)

    def health(self) -> Health:
        """For an HTTP probe: what the watchdog saw last, and what the processors wait for."""
        problems = self.watchdog.problems()
        for probe in self.probes:
            problems |= probe()
        return Health(ready=not problems, problems=sorted(problems))

    def behind(self) -> Mapping[str, int]:
        """By topic, how many records of our partitions are not done."""
        return self.kafka_consumer.behind() if self.consumer.started else {}

    @override
    async def on_first_start(self) -> None:
        """Faust would make folders here; our rows have their own."""

    @override
    async def on_stop(self) -> None:
        if self.consumer.started:
            self.kafka_consumer.stop_flow()
            for hook in self.before_stop:
                await hook()
            await self.kafka_consumer.force_commit()
        await super().on_stop()

    @override
    async def on_shutdown(self) -> None:
        await super().on_shutdown()
        for hook in self.after_stop:
            hook()


def _settings(options: RuntimeOptions) -> dict[str, Any]:
    return {
        "store": "memory://",  # Ledger brings its own
        "topic_partitions": options.partitions,
        "topic_disable_leader": True,
        "topic_allow_declare": False,
        "web_enabled": False,
        "processing_guarantee": "at_least_once",
        "broker_session_timeout": options.session_timeout_s,
        "broker_commit_interval": options.commit_interval_s,
        "broker_request_timeout": options.request_timeout_s,
        "table_standby_replicas": 0,
        # Our ledger compares its positions with the log itself, and mends instead of crashing.
        "recovery_consistency_check": False,
        # A revoke must not wait for runs that take minutes: they are attached again afterwards.
        "stream_wait_empty": False,
        "stream_recovery_delay": 0.0,
    }
