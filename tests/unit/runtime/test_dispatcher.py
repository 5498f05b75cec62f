"""Many runs at once: how many, which are one, which wait, which are let go."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime

import pytest

import crewstream.runtime  # noqa: F401  (sets NO_CYTHON before faust is imported)

# isort: split
from faust.types import TP

from crewstream.domain.job import Job
from crewstream.domain.window import Window
from crewstream.errors import NotNow, Unreachable
from crewstream.records import Inbound
from crewstream.runtime import dispatcher as dispatcher_module
from crewstream.runtime.book import Book, Record
from crewstream.runtime.dispatcher import Dispatcher, Intake

TASKS = TP("tasks", 0)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
UNDECODABLE = b"?"


class Bench:
    """A dispatcher whose runs end when they are told to."""

    def __init__(self, limit: int = 10) -> None:
        self.working = True
        self.begun: list[int] = []
        self.failures: Counter[int] = Counter()
        self.taken: Counter[int] = Counter()
        self.gates: dict[int, asyncio.Event] = {}
        self.again = asyncio.Event()
        self.unwanted: set[str] = set()
        intake = Intake(
            self.describe, self.unwanted.__contains__, lambda _: self.working, lambda: self.working
        )
        self.dispatcher = Dispatcher(limit, self.work, intake, Window())
        self.book = Book(0)

    def record(self, offset: int, key: bytes | None = None, tenant: bytes = b"a") -> Record:
        self.book.deliver(offset)
        inbound = Inbound("tasks", 0, offset, key or b"%d" % offset, tenant, (), 0)
        return Record(inbound, self.book, 1)

    @staticmethod
    def describe(record: Inbound) -> Job | None:
        tenant, key = (record.value or b"").decode(), (record.key or b"").decode()
        if record.value == UNDECODABLE:
            return None
        return Job(f"{key}/{record.offset}", tenant, "p", key, key, NOW, NOW)

    async def work(self, record: Inbound) -> None:
        self.begun.append(record.offset)
        if self.failures[record.offset]:
            self.failures[record.offset] -= 1
            raise Unreachable("Redis is away")
        if self.taken[record.offset]:
            self.taken[record.offset] -= 1
            raise NotNow("every agent has all it can do")
        if self.begun.count(record.offset) > 1:
            self.again.set()
        await self.gates.setdefault(record.offset, asyncio.Event()).wait()

    async def submit(self, *records: Record) -> None:
        self.dispatcher.submit(records)
        await self.turns()

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
    await bench.submit(bench.record(2))
    assert bench.begun == [0, 1]
    await bench.end(0)
    assert bench.begun == [0, 1, 2]


async def test_what_waits_runs_in_the_order_of_the_window() -> None:
    bench = Bench(limit=1)
    flood = [bench.record(offset, tenant=b"flood") for offset in range(50)]
    await bench.submit(*flood)
    await bench.submit(bench.record(50, tenant=b"other"))
    await bench.end(0)
    assert bench.begun == [0, 50]
    assert bench.dispatcher.queued() == {"p": 49}


async def test_what_is_no_assignment_runs_at_once() -> None:
    bench = Bench(limit=1)
    await bench.submit(bench.record(0), bench.record(1), bench.record(2, tenant=UNDECODABLE))
    assert sorted(bench.begun) == [0, 2]


async def test_a_queued_offset_that_is_delivered_again_is_queued_once() -> None:
    bench = Bench(limit=1)
    await bench.submit(bench.record(0), bench.record(1))
    bench.book = Book(0)
    await bench.submit(bench.record(0), bench.record(1))
    await bench.end(0)
    await bench.end(1)
    assert bench.begun == [0, 1]
    assert bench.book.committable() == 2, "the new assignment's records were acknowledged"


async def test_a_queued_job_that_is_withdrawn_is_acknowledged_and_not_run() -> None:
    bench = Bench(limit=1)
    await bench.submit(bench.record(0), bench.record(1), bench.record(2))
    bench.dispatcher.withdraw("1/1")
    bench.dispatcher.withdraw("0/0")
    bench.dispatcher.withdraw("unknown")
    await bench.end(0)
    await bench.end(2)
    assert bench.begun == [0, 2], "a run is cancelled where it runs"
    assert bench.book.committable() == 3


async def test_a_job_that_comes_after_its_cancellation_is_not_run(bench: Bench) -> None:
    bench.unwanted.add("0/0")
    await bench.submit(bench.record(0), bench.record(1))
    assert bench.begun == [1]
    assert bench.book.committable() == 1


async def test_an_offset_delivered_again_is_attached_to_its_run(bench: Bench) -> None:
    await bench.submit(bench.record(0))
    bench.book = Book(0)
    await bench.submit(bench.record(0))
    await bench.end(0)
    assert bench.begun == [0]
    assert bench.book.committable() == 1, "the new assignment's record was acknowledged"


async def test_a_second_record_of_a_key_waits_for_the_first(bench: Bench) -> None:
    await bench.submit(bench.record(0, b"same"), bench.record(1, b"same"))
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
    bench.dispatcher.submit([bench.record(0)])
    bench.dispatcher.keep_only([])
    await bench.turns()
    await bench.submit(bench.record(1))
    assert bench.begun == [1]


async def test_nothing_begins_during_a_rebalance(bench: Bench) -> None:
    bench.working = False
    await bench.submit(bench.record(0))
    assert bench.begun == []


async def test_what_is_queued_when_a_rebalance_begins_is_handed_back() -> None:
    bench = Bench(limit=1)
    await bench.submit(bench.record(0), bench.record(1), bench.record(2))
    bench.working = False
    await bench.end(0)
    bench.dispatcher.keep_only([TASKS])
    assert bench.begun == [0]
    assert not bench.dispatcher.queued()
    bench.working, bench.book = True, Book(1)
    await bench.submit(bench.record(1))
    assert bench.begun == [0, 1]


async def test_what_came_since_the_rebalance_stays_queued() -> None:
    bench = Bench(limit=1)
    await bench.submit(bench.record(0), bench.record(1))
    bench.dispatcher.keep_only([TASKS])
    assert bench.dispatcher.queued() == {"p": 1}


async def test_a_run_tries_again_when_what_it_needs_was_away(bench: Bench) -> None:
    bench.failures[0] = 1
    await bench.submit(bench.record(0))
    assert bench.dispatcher.waits() == {"Redis is away"}
    await bench.again.wait()
    await bench.end(0)
    assert bench.dispatcher.waits() == set()
    assert bench.book.committable() == 1


async def test_draining_waits_for_runs_and_begins_none() -> None:
    bench = Bench(limit=1)
    await bench.submit(bench.record(0), bench.record(1))
    draining = asyncio.create_task(bench.dispatcher.drain(30.0))
    await bench.turns()
    await bench.submit(bench.record(2))
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


async def test_what_waits_behind_others_is_not_stuck() -> None:
    bench = Bench(limit=1)
    await bench.submit(bench.record(0), bench.record(1))
    waiting = Book(1)
    waiting.deliver(1)
    assert not bench.dispatcher.stuck(TASKS, bench.book)
    assert not bench.dispatcher.stuck(TASKS, waiting)


async def test_queued_work_is_stuck_when_nothing_runs(bench: Bench) -> None:
    bench.working = False
    held = bench.record(0)
    bench.dispatcher._take(held)  # noqa: SLF001 - as if it had not been begun, which cannot be
    assert bench.dispatcher.stuck(TASKS, bench.book)


async def test_an_open_record_that_nobody_holds_is_stuck(bench: Bench) -> None:
    await bench.submit(bench.record(0))
    lost = Book(5)
    lost.deliver(5)
    assert bench.dispatcher.stuck(TASKS, lost)
    assert not bench.dispatcher.stuck(TASKS, Book(9))


@pytest.fixture
def short_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher_module, "FIRST_REST_S", 0.01)


@pytest.fixture
def long_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher_module, "FIRST_REST_S", 60.0)
    monkeypatch.setattr(dispatcher_module, "MOST_REST_S", 60.0)


@pytest.mark.usefixtures("long_rests")
async def test_what_cannot_run_now_leaves_its_place_to_others() -> None:
    bench = Bench(limit=1)
    bench.taken[0] = 1
    await bench.submit(bench.record(0), bench.record(1))

    assert bench.begun == [0, 1]
    assert bench.book.committable() == 0
    await bench.end(1)
    assert not bench.dispatcher.stuck(TASKS, bench.book)
    assert bench.dispatcher.waits() == set()


@pytest.mark.usefixtures("short_rests")
async def test_what_could_not_run_is_tried_again_until_it_can() -> None:
    bench = Bench(limit=1)
    bench.taken[0] = 2
    await bench.submit(bench.record(0))
    await asyncio.wait_for(bench.again.wait(), 10)
    await bench.end(0)

    assert bench.begun == [0, 0, 0]
    assert bench.book.committable() == 1


@pytest.mark.usefixtures("long_rests")
async def test_what_rests_can_be_withdrawn() -> None:
    bench = Bench()
    bench.taken[0] = 1
    await bench.submit(bench.record(0))

    bench.dispatcher.withdraw("0/0")

    assert bench.book.committable() == 1


@pytest.mark.usefixtures("long_rests")
async def test_what_rests_is_handed_back_when_the_process_leaves() -> None:
    bench = Bench()
    bench.taken[0] = 1
    await bench.submit(bench.record(0))

    await bench.dispatcher.drain(0)

    assert bench.book.committable() == 0
    assert (TASKS, 0) not in bench.dispatcher._held  # noqa: SLF001 - nothing else tells


async def test_more_room_is_filled_at_once_and_less_room_ends_nothing() -> None:
    bench = Bench(limit=1)
    await bench.submit(*(bench.record(offset) for offset in range(5)))
    assert (bench.begun, bench.dispatcher.waiting()) == ([0], 4)
    assert dict(bench.dispatcher.backlog_s()) == {"p": 4.0}

    bench.dispatcher.resize(3)
    await bench.turns()
    assert bench.begun == [0, 1, 2]
    bench.dispatcher.resize(1)
    await bench.end(0)
    await bench.end(1)
    assert bench.begun == [0, 1, 2]
    await bench.end(2)
    assert bench.begun == [0, 1, 2, 3]
    await bench.end(3)
    await bench.end(4)
