"""Load on a route: a burst, or so many a second; the same for the product and for the raw echo."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

PATIENCE_S = 60.0
LOOK_S = 0.01


@dataclass(frozen=True, slots=True)
class Route:
    """Where requests go in, and where each one's result comes out, under the same key."""

    name: str
    requests: str
    results: str
    request: Callable[[str], bytes]
    """The value of the request with this key."""


@dataclass(slots=True)
class Caller:
    """A service that asks and waits for answers."""

    route: Route
    producer: AIOKafkaProducer
    consumer: AIOKafkaConsumer
    asked: int = 0
    _sent_s: dict[bytes, float] = field(default_factory=dict)

    async def burst(self, count: int) -> float:
        """Ask for so many at once; seconds from the first request to the last result.

        The results are not read, their topic's end tells: nothing but the route costs time.
        """
        requests = [self._next() for _ in range(count)]
        done = await self._results() + count
        began_s = time.perf_counter()
        for key, value in requests:
            await self.producer.send(self.route.requests, value, key=key)
        async with asyncio.timeout(PATIENCE_S):
            while (there := await self._results()) < done:  # noqa: ASYNC110 - Kafka tells nobody
                await asyncio.sleep(LOOK_S)
        if there > done:
            raise RuntimeError(f"{self.route.name}: {there - done} results more than requests")
        return time.perf_counter() - began_s

    async def steady(self, rate: float, seconds: float) -> Sequence[float]:
        """Ask so many a second; milliseconds from each request to its result, read from Kafka."""
        count = int(rate * seconds)
        requests = [self._next() for _ in range(count)]
        places = await self._places()
        self.consumer.assign(places)
        await self.consumer.seek_to_end()
        reading = asyncio.create_task(self._read(count))
        began_s = time.perf_counter()
        for number, (key, value) in enumerate(requests):
            await asyncio.sleep(max(0.0, began_s + number / rate - time.perf_counter()))
            self._sent_s[key] = time.perf_counter()
            await self.producer.send(self.route.requests, value, key=key)
        async with asyncio.timeout(PATIENCE_S):
            waits_ms = await reading
        self.consumer.unsubscribe()
        return waits_ms

    async def _read(self, count: int) -> Sequence[float]:
        waits_ms: list[float] = []
        while len(waits_ms) < count:
            found = await self.consumer.getmany(timeout_ms=100)
            now_s = time.perf_counter()
            waits_ms += [
                1000 * (now_s - self._sent_s.pop(record.key))
                for records in found.values()
                for record in records
            ]
        return waits_ms

    def _next(self) -> tuple[bytes, bytes]:
        self.asked += 1
        name = f"{self.route.name}-{self.asked}"
        return name.encode(), self.route.request(name)

    async def _results(self) -> int:
        return sum((await self.consumer.end_offsets(await self._places())).values())

    async def _places(self) -> list[TopicPartition]:
        topic = self.route.results
        partitions = await self.producer.partitions_for(topic)
        return [TopicPartition(topic, partition) for partition in sorted(partitions)]


@asynccontextmanager
async def caller(bootstrap: str, route: Route) -> AsyncIterator[Caller]:
    """A Caller, connected."""
    async with (
        AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer,
        AIOKafkaConsumer(bootstrap_servers=bootstrap, fetch_max_wait_ms=100) as consumer,
    ):
        yield Caller(route, producer, consumer)
