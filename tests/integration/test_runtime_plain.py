"""The plain loop on a real Kafka: applied, then committed; outages waited out; nothing missed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Protocol

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from crewstream.contracts.connection import KafkaConnection
from crewstream.errors import Unreachable
from crewstream.runtime.plain import Batch, PlainLoop, PlainOptions

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


class Brokers(Protocol):
    """A running Kafka: the fixture of conftest.py."""

    @property
    def bootstrap(self) -> str: ...


class Sink:
    """Keeps what was applied; away when told so."""

    def __init__(self) -> None:
        self.applied: list[bytes] = []
        self.tried = 0
        self.away = False

    async def __call__(self, batch: Batch) -> None:
        self.tried += 1
        if self.away:
            raise Unreachable("the sink is away")
        for records in batch.values():
            self.applied += [record.value or b"" for record in records]


class Bench:
    """A topic, and loops on it."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        self.kafka, self.topic, self.group = KafkaConnection(bootstrap), prefix + "in", prefix + "g"
        self.producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
        self.tasks: list[asyncio.Task[None]] = []

    def loop(self, sink: Sink) -> PlainLoop:
        options = PlainOptions(
            self.group, [self.topic], max_wait_s=0.05, session_timeout_s=2.0, most_backoff_s=0.3
        )
        loop = PlainLoop(self.kafka, options, sink)
        self.tasks.append(asyncio.create_task(loop.run()))
        return loop

    async def send(self, *values: bytes) -> None:
        for number, value in enumerate(values):
            await self.producer.send_and_wait(self.topic, value, partition=number % 4)


@pytest.fixture
async def bench(kafka: Brokers, topic_prefix: str) -> AsyncIterator[Bench]:
    bench = Bench(kafka.bootstrap, topic_prefix)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(bench.topic, 4, 1)])
    await admin.close()
    async with bench.producer:
        yield bench
        for task in bench.tasks:
            await stop(task)


async def stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not done():  # noqa: ASYNC110  (what is awaited has no event)
            await asyncio.sleep(0.05)


async def test_an_outage_is_waited_out_and_told(bench: Bench) -> None:
    sink = Sink()
    sink.away = True
    loop = bench.loop(sink)
    await bench.send(b"a", b"b")
    await until(lambda: sink.tried > 2)
    assert "the sink is away" in loop.health().problems
    assert loop.behind()[bench.topic] > 0
    await bench.send(b"c", b"d", b"e", b"f")  # to every partition, while all of them are paused
    sink.away = False
    await until(lambda: sorted(sink.applied) == [b"a", b"b", b"c", b"d", b"e", b"f"])
    await until(lambda: loop.health().ready)
    assert loop.behind() == {bench.topic: 0}


async def test_what_was_not_applied_is_not_committed(bench: Bench) -> None:
    first, second = Sink(), Sink()
    first.away = True
    bench.loop(first)
    await bench.send(b"a")
    await until(lambda: first.tried > 0)
    await stop(bench.tasks.pop())
    bench.loop(second)
    await until(lambda: second.applied == [b"a"])


async def test_what_was_applied_is_committed(bench: Bench) -> None:
    first, second = Sink(), Sink()
    bench.loop(first)
    await bench.send(b"a", b"b", b"c")
    await until(lambda: len(first.applied) == 3)
    await asyncio.sleep(0.2)
    await stop(bench.tasks.pop())
    bench.loop(second)
    await bench.send(b"d")
    await until(lambda: bool(second.applied))
    assert second.applied == [b"d"]


async def test_nothing_is_left_out_when_members_come_and_go(bench: Bench) -> None:
    sinks = [Sink() for _ in range(3)]
    values = [b"%d" % number for number in range(150)]
    for number, value in enumerate(values):
        if number in {0, 40, 80}:
            bench.loop(sinks[number // 40])
        if number == 120:
            await stop(bench.tasks.pop(0))
        await bench.producer.send_and_wait(bench.topic, value, partition=number % 4)
        await asyncio.sleep(0.02)
    await until(lambda: {v for sink in sinks for v in sink.applied} == set(values))


async def test_an_error_that_does_not_pass_ends_the_loop(bench: Bench) -> None:
    async def broken(_: Batch) -> None:
        raise ValueError("a bug")

    loop = PlainLoop(bench.kafka, PlainOptions(bench.group, [bench.topic]), broken)
    await bench.send(b"a")
    with pytest.raises(ValueError, match="a bug"):
        await loop.run()
