"""What is taken, delivered and committed, without a broker."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.structs import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st

import crewstream.runtime  # noqa: F401  (sets NO_CYTHON before faust is imported)

# isort: split
from faust.types import TP

from crewstream.runtime.book import Book, Record, inbound
from crewstream.runtime.consumer import Consumer
from crewstream.runtime.outage import Outage

IN = TP("in", 0)


@dataclass
class Seeks:
    """A Kafka client of which only the position counts."""

    done: list[tuple[str, int, int]] = field(default_factory=list)

    def seek(self, tp: Any, offset: int) -> None:
        self.done.append((*tp, offset))

    def highwater(self, _tp: Any) -> int:
        return 10


class Bench(Consumer):
    """The delivery rules on a client that is not there."""

    def __init__(self, start: int) -> None:
        tables = SimpleNamespace(changelog_topics=())
        self.app = cast("Any", SimpleNamespace(topics=self, tables=tables))
        self.seeks = Seeks()
        self.kafka = self.seeks
        self.books = {IN: Book(start, start)}
        self._active_partitions = {IN}
        self.generation = self.epoch = 1
        self.sought = None
        self.flow_active = True
        self.counts = Counter()
        self.outage = Outage("commits")
        self.got: list[Record] = []

    def deliver_batch(self, _tp: TP, records: list[Record], _message: object) -> None:
        self.got += records

    def give(self, *offsets: int) -> None:
        """What one fetch brought."""
        self._deliver_or_undo(IN, [record(offset) for offset in offsets])

    @property
    def offsets(self) -> list[int]:
        return [r.inbound.offset for r in self.got]


def record(offset: int) -> ConsumerRecord[bytes, bytes]:
    return ConsumerRecord("in", 0, offset, 1, 0, b"k", b"v", None, 1, 1, ())


@pytest.fixture
def bench() -> Bench:
    return Bench(5)


def test_what_is_taken_and_not_done_is_still_behind(bench: Bench) -> None:
    assert bench.behind() == {"in": 5}
    bench.give(5, 6)
    assert bench.behind() == {"in": 5}
    bench.got[0].ack()
    assert bench.behind() == {"in": 4}


def test_records_come_in_turn_and_stay_open(bench: Bench) -> None:
    bench.give(5, 6, 7)
    assert bench.offsets == [5, 6, 7]
    assert bench.books[IN].committable() == 5


def test_what_is_taken_while_the_flow_is_stopped_is_undone(bench: Bench) -> None:
    bench.flow_active = False
    bench.give(5, 6)
    assert not bench.got
    assert bench.seeks.done == [("in", 0, 5)]


def test_what_is_taken_from_a_partition_without_a_book_is_undone(bench: Bench) -> None:
    bench.disarm()
    bench.give(5, 6)
    assert not bench.got
    assert bench.seeks.done == [("in", 0, 5)]


def test_a_gap_is_read_again_and_what_was_swallowed_is_delivered(bench: Bench) -> None:
    bench.give(5, 8, 9)
    assert bench.offsets == [5]
    assert bench.seeks.done == [("in", 0, 6)]
    bench.give(6, 7, 8)
    assert bench.offsets == [5, 6, 7, 8]


def test_a_gap_that_stays_is_a_hole_in_the_log(bench: Bench) -> None:
    bench.give(5, 8)
    bench.give(8, 9)
    assert bench.offsets == [5, 8, 9]
    assert bench.counts["holes"] == 1


def test_a_log_that_was_cut_is_delivered_from_its_start(bench: Bench) -> None:
    bench.give(5, 6)
    bench.give(0, 1)
    assert bench.offsets == [5, 6, 0, 1]
    assert bench.books[IN].committable() == 0


def test_a_late_acknowledgement_changes_nothing_in_a_new_assignment(bench: Bench) -> None:
    bench.give(5)
    late = bench.got[0]
    bench.books[IN] = Book(5, 5)
    bench.give(5)
    late.ack()
    assert bench.books[IN].committable() == 5


def test_no_work_begins_on_records_from_before_a_rebalance(bench: Bench) -> None:
    bench.give(5)
    assert bench.working(bench.got[0])
    bench.flow_active = False
    assert not bench.working(bench.got[0])


@given(st.lists(st.integers(0, 19)))
def test_a_commit_never_passes_an_open_record(acked: list[int]) -> None:
    book = Book(0)
    records = []
    for offset in range(20):
        book.deliver(offset)
        records.append(Record(inbound(record(offset)), book, 1))
    still_open = set(range(20))
    for offset in acked:
        records[offset].ack()
        still_open.discard(offset)
        assert book.committable() == min(still_open, default=20)


class SlowKafka(Seeks):
    """Answers only once the gate is open."""

    def __init__(self, committed: int | None, start: int, end: int) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.log = committed, start, end
        self.committed_to: list[int] = []

    def assignment(self) -> set[TP]:
        return {IN}

    async def committed(self, _tp: object) -> int | None:
        await self.gate.wait()
        return self.log[0]

    async def beginning_offsets(self, tps: Any) -> Any:
        return dict.fromkeys(tps, self.log[1])

    async def end_offsets(self, tps: Any) -> Any:
        return dict.fromkeys(tps, self.log[2])

    async def commit(self, offsets: Any) -> None:
        self.committed_to += [meta.offset for meta in offsets.values()]


async def test_a_seek_that_a_rebalance_overtakes_does_not_arm(bench: Bench) -> None:
    bench.kafka = kafka = SlowKafka(3, 0, 9)
    seeking = asyncio.create_task(bench.perform_seek())
    await asyncio.sleep(0)
    bench.disarm()
    kafka.gate.set()
    await seeking
    assert bench.sought is None
    assert not kafka.done


@pytest.mark.parametrize(
    ("committed", "start", "end", "expected"),
    [(None, 4, 9, 4), (7, 4, 9, 7), (2, 4, 9, 4), (30, 0, 9, 0)],
    ids=["never committed", "committed", "log was trimmed", "topic was created anew"],
)
async def test_reading_starts_at_the_committed_offset_or_at_the_start_of_the_log(
    bench: Bench, committed: int | None, start: int, end: int, expected: int
) -> None:
    bench.kafka = kafka = SlowKafka(committed, start, end)
    bench.lease_s = 0.0
    kafka.gate.set()
    await bench.perform_seek()
    assert bench.sought is not None
    assert bench.sought[IN].next == expected
    assert kafka.done == [("in", 0, expected)]
    assert kafka.committed_to == [expected]
