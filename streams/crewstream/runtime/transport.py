"""A Faust transport that never loses, swallows or passes an event: one loop, one consumer.

`app.transport = Transport(…)`, a public setter, is all there is to it: classes are subclassed, none
is patched. Every topic but a table's changelog is read in batches: its agent gets, per queue item,
the list of `Record`s that one fetch brought for one partition, and acknowledges each by hand.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import TYPE_CHECKING, Any

from aiokafka import TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.transports import ProducerT
from mode import Service
from typing_extensions import override
from yarl import URL

from crewstream.runtime.conductor import Conductor
from crewstream.runtime.consumer import Consumer

if TYPE_CHECKING:
    from crewstream.contracts.connection import KafkaConnection
    from crewstream.runtime.member import Member
    from crewstream.runtime.options import RuntimeOptions


class Pump(Service):
    """Takes the place of Faust's fetcher, which the app and recovery start and stop."""

    def __init__(self, app: Any, **kwargs: Any) -> None:
        self.app = app
        super().__init__(**kwargs)

    @Service.task
    async def _run(self) -> None:
        await self.app.consumer.pump(self)


class Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka.* is untyped for us
    """What aiokafka tells of a rebalance."""

    def __init__(self, consumer: Consumer) -> None:
        self.consumer = consumer

    @override
    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> Awaitable[None]:
        # Here, not in the coroutine: from now on nothing is taken or begun.
        self.consumer.stop_flow()
        self.consumer.app.on_rebalance_start()
        return self.consumer.on_partitions_revoked({TP(*tp) for tp in revoked})

    @override
    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        generation = self.consumer.begin_generation()
        await self.consumer.on_partitions_assigned({TP(*tp) for tp in assigned}, generation)


class Transport(driver.Transport):
    """Faust's seam: the consumer, conductor and fetcher above, and the producer given."""

    Consumer = Consumer
    Conductor = Conductor
    Fetcher = Pump

    def __init__(
        self,
        app: Any,
        kafka: KafkaConnection,
        options: RuntimeOptions,
        producer: type[driver.Producer],
    ) -> None:
        super().__init__([URL(f"kafka://{s.strip()}") for s in kafka.bootstrap.split(",")], app)
        self.kafka, self.options = kafka, options
        self._producer = producer

    @override
    def create_producer(self, **kwargs: Any) -> ProducerT:
        return self._producer(self, **kwargs)

    def listener(self, consumer: Member) -> Listener:
        assert isinstance(consumer, Consumer)  # noqa: S101  (narrows; this class makes no other)
        return Listener(consumer)
