"""Many runs at once: how many, which are one, which wait, which are let go."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

import crewstream.runtime  # noqa: F401  (sets NO_CYTHON before faust is imported)

# isort: split
from faust.types import TP

from crewstream.errors import Unreachable
from crewstream.records import Inbound
from crewstream.runtime.book import Book, Record
from crewstream.runtime.dispatcher import Dispatcher

TASKS = TP("tasks", 0)


class Bench:
    """A dispatcher whose runs end when they are told to."""

    def __init__(self, limit: int = 10) -> None:
        self.working = True
        self.begun: list[int] = []
        self.failures: Counter[int] = Counter()
        self.gates: dict[int, asyncio.Event] = {}
        self.again = asyncio.Event()
        self.dispatcher = Dispatcher(limit, self.work, working=lambda _: self.working)
        self.book = Book(0)

    def record(self, offset: int, key: bytes | None = None) -> Record:
        self.book.deliver(offset)
        inbound = Inbound("tasks", 0, offset, key or b"%d" % offset, b"", (), 0)
        return Record(inbound, self.book, 1)

    async def work(self, record: Inbound) -> None:
        self.begun.append(record.offset)
        if self.failures[record.offset]:
            self.failures[record.offset] -= 1
            raise Unreachable("Redis is away")
        if self.begun.count(record.offset) > 1:
            self.again.set()
        await self.gates.setdefault(record.offset, asyncio.Event()).wait()

    async def submit(self, record: Record) -> asyncio.Task[None]:
        task = asyncio.create_task(self.dispatcher.submit(record))
        await self.turns()
        return task

    async def end(self, offset: int) -> None:
        self.gates[offset].set()
        await self.turns()

    @staticmethod
    async def turns() -> None:
        for _ in range(5):
            await asyncio.sleep(0)


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_a_record_is_acknowledged_when_its_run_ended(bench: Bench) -> None:
    await bench.submit(bench.record(0))
    assert bench.book.committable() == 0
    await bench.end(0)
    assert bench.book.committable() == 1


async def test_at_most_limit_run_and_the_next_waits_for_room() -> None:
    bench = Bench(limit=2)
    for offset in range(2):
        await bench.submit(bench.record(offset))
    third = await bench.submit(bench.record(2))
    assert bench.begun == [0, 1]
    await bench.end(0)
    assert bench.begun == [0, 1, 2]
    assert third.done()


async def test_an_offset_delivered_again_is_attached_to_its_run(bench: Bench) -> None:
    await bench.submit(bench.record(0))
    bench.book = Book(0)
    await bench.submit(bench.record(0))
    await bench.end(0)
    assert bench.begun == [0]
    assert bench.book.committable() == 1, "the new assignment's record was acknowledged"


async def test_a_second_record_of_a_key_waits_for_the_first(bench: Bench) -> None:
    await bench.submit(bench.record(0, b"same"))
    await bench.submit(bench.record(1, b"same"))
    assert bench.begun == [0]
    await bench.end(0)
    assert bench.begun == [0, 1]


async def test_a_run_of_a_lost_partition_is_cancelled_and_stays_open(bench: Bench) -> None:
    await bench.submit(bench.record(0))
    bench.dispatcher.keep_only([])
    await bench.turns()
    assert bench.book.committable() == 0
    await bench.submit(bench.record(0))
    assert bench.begun == [0, 0], "it did not come back to the cancelled run"


async def test_an_offset_is_not_attached_to_a_run_that_is_being_cancelled(bench: Bench) -> None:
    await bench.submit(bench.record(0))
    bench.dispatcher.keep_only([])
    await bench.submit(bench.record(0))
    assert bench.begun == [0, 0]


async def test_a_run_cancelled_before_its_first_step_gives_its_room_back() -> None:
    bench = Bench(limit=1)
    await bench.dispatcher.submit(bench.record(0))
    bench.dispatcher.keep_only([])
    await bench.turns()
    await bench.submit(bench.record(1))
    assert bench.begun == [1]


async def test_nothing_begins_during_a_rebalance(bench: Bench) -> None:
    bench.working = False
    await bench.submit(bench.record(0))
    assert bench.begun == []


async def test_a_run_tries_again_when_what_it_needs_was_away(bench: Bench) -> None:
    bench.failures[0] = 1
    await bench.submit(bench.record(0))
    assert bench.dispatcher.waits() == {"Redis is away"}
    await bench.again.wait()
    await bench.end(0)
    assert bench.dispatcher.waits() == set()
    assert bench.book.committable() == 1


async def test_draining_waits_for_runs_and_begins_none(bench: Bench) -> None:
    await bench.submit(bench.record(0))
    draining = asyncio.create_task(bench.dispatcher.drain(30.0))
    await bench.turns()
    await bench.submit(bench.record(1))
    assert not draining.done()
    await bench.end(0)
    await draining
    assert bench.begun == [0]
    assert bench.book.committable() == 1


async def test_runs_that_outlast_the_grace_are_cancelled_and_not_acknowledged(
    bench: Bench,
) -> None:
    await bench.submit(bench.record(0))
    await bench.dispatcher.drain(0.01)
    assert bench.book.committable() == 0


async def test_an_open_record_without_a_run_is_stuck(bench: Bench) -> None:
    await bench.submit(bench.record(0))
    assert not bench.dispatcher.stuck(TASKS, bench.book)
    lost = Book(5)
    lost.deliver(5)
    assert bench.dispatcher.stuck(TASKS, lost)
