# ruff: noqa: SLF001  (a store without the Faust that would drive it)
"""Rows on this machine: what survives, what is read again, what must be forgotten."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import crewstream.runtime  # noqa: F401  (sets NO_CYTHON before faust is imported)

# isort: split
from faust.types import TP

from crewstream.runtime.ledger import LedgerStore, Write
from crewstream.runtime.rows import NOTHING, WARM_FOR_S, LocalRows, MemoryRows, RocksRows
from crewstream.runtime.slots import Slot

ROWS = TP("rows", 3)


@pytest.fixture(params=["memory", "rocksdict"])
def rows(request: pytest.FixtureRequest, tmp_path: Path) -> LocalRows:
    return MemoryRows() if request.param == "memory" else RocksRows(tmp_path / "rows")


def test_rows_are_put_read_deleted_and_counted_by_partition(rows: LocalRows) -> None:
    other = TP("rows", 30)
    assert rows.position(ROWS) == NOTHING
    rows.write(ROWS, {b"a": b"1", b"b": b"2"}, 7)
    rows.write(other, {b"a": b"9"}, 1)
    rows.write(ROWS, {b"b": None}, 8)
    assert (rows.get(ROWS, b"a"), rows.get(ROWS, b"b"), rows.get(other, b"a")) == (b"1", None, b"9")
    assert list(rows.keys(ROWS)) == [b"a"]
    assert rows.position(ROWS) == 8


def test_a_wiped_partition_is_empty_and_others_are_not(rows: LocalRows) -> None:
    other = TP("rows", 30)
    rows.write(ROWS, {b"a": b"1"}, 7)
    rows.write(other, {b"a": b"9"}, 1)
    rows.wipe(ROWS)
    assert rows.position(ROWS) == NOTHING
    assert rows.get(ROWS, b"a") is None
    assert rows.get(other, b"a") == b"9"


def test_rows_on_disk_are_there_again(tmp_path: Path) -> None:
    first = RocksRows(tmp_path)
    first.write(ROWS, {b"a": b"1", b"b": b"2"}, 7)
    first.close()
    again = RocksRows(tmp_path)
    assert again.get(ROWS, b"a") == b"1"
    assert again.position(ROWS) == 7
    assert again.age_s(ROWS) < WARM_FOR_S


def test_a_process_gets_the_slot_that_another_left(tmp_path: Path) -> None:
    first, second = Slot(tmp_path), Slot(tmp_path)
    assert [first.path.name, second.path.name] == ["slot-0", "slot-1"]
    first.release()
    assert Slot(tmp_path).path.name == "slot-0"
    second.release()


class Ends:
    """Where the changelogs end in Kafka."""

    def __init__(self, end: int) -> None:
        self.end = end
        recovery = SimpleNamespace(active_offsets=Counter[TP](), flush_buffers=lambda: None)
        self.tables = SimpleNamespace(recovery=recovery)

    async def highwaters(self, *tps: TP) -> dict[TP, int]:
        return dict.fromkeys(tps, self.end)


class Bench(LedgerStore):
    """A store without Faust around it."""

    def __init__(self, rows: LocalRows, end: int = 1000) -> None:
        consumer = Ends(end)
        self._app = cast("Any", SimpleNamespace(consumer=consumer, kafka_consumer=consumer))
        self._ledger = cast("Any", SimpleNamespace(changed=[], lost=[], recovered=[]))
        self._topic, self._open = ROWS.topic, lambda: rows
        self.under_way, self._confirmed, self._fresh = {}, {}, set()

    def begin(self, key: bytes, value: bytes | None) -> Write:
        write = self.under_way[ROWS.partition, key] = Write(ROWS.partition, key, value, ())
        return write

    async def confirm(self, write: Write, offset: int) -> None:
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        done.set_result(SimpleNamespace(offset=offset))
        self.delivered(write, done)
        await asyncio.sleep(0)

    def change(self, offset: int, key: bytes, value: bytes | None, topic: str = ROWS.topic) -> Any:
        message = SimpleNamespace(
            topic=topic, tp=TP(topic, ROWS.partition), offset=offset, key=key, value=value
        )
        return SimpleNamespace(message=message)

    def apply(self, *events: Any) -> None:
        self.apply_changelog_batch(events, lambda k: k, lambda v: v)


@pytest.fixture
def bench(rows: LocalRows) -> Bench:
    return Bench(rows)


async def test_a_row_is_read_at_once_and_held_only_when_confirmed(bench: Bench) -> None:
    write = bench.begin(b"a", b"1")
    assert bench.row(3, b"a") == b"1"
    assert bench.held.get(ROWS, b"a") is None, "after a crash it would be ahead of its changelog"
    await bench.confirm(write, 0)
    assert bench.held.get(ROWS, b"a") == b"1"
    assert bench.held.position(ROWS) == 0
    assert not bench.under_way


async def test_the_latest_of_two_writes_under_way_is_read(bench: Bench) -> None:
    first, second = bench.begin(b"a", b"1"), bench.begin(b"a", None)
    await bench.confirm(first, 0)
    assert bench.row(3, b"a") is None
    await bench.confirm(second, 1)
    assert bench.row(3, b"a") is None
    assert bench.held.position(ROWS) == 1


async def test_a_failed_delivery_is_not_held(bench: Bench) -> None:
    write = bench.begin(b"a", b"1")
    done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    done.set_exception(RuntimeError("no broker"))
    bench.delivered(write, done)
    await asyncio.sleep(0)
    assert bench.held.get(ROWS, b"a") is None


async def test_the_position_stops_where_another_wrote_between(bench: Bench) -> None:
    await bench.confirm(bench.begin(b"a", b"1"), 0)
    await bench.confirm(bench.begin(b"a", b"3"), 2)
    assert bench.held.position(ROWS) == 0, "the record at 1 would never be read"
    bench.apply(bench.change(1, b"b", b"2"), bench.change(2, b"a", b"3"))
    assert bench.held.position(ROWS) == 2
    assert bench.row(3, b"b") == b"2"


def test_changes_are_applied_once_and_only_to_their_own_table(bench: Bench) -> None:
    bench.apply(
        bench.change(0, b"a", b"1"),
        bench.change(1, b"a", None),
        bench.change(0, b"x", b"1", "else"),
    )
    assert bench.row(3, b"a") is None
    assert bench.held.position(TP("else", 3)) == NOTHING
    bench.apply(bench.change(0, b"a", b"1"))
    assert bench.row(3, b"a") is None, "a deleted row came back"


async def test_rows_beyond_the_end_of_the_changelog_are_forgotten(rows: LocalRows) -> None:
    bench = Bench(rows, end=5)
    rows.write(ROWS, {b"a": b"1"}, 5)
    await bench.on_rebalance({ROWS}, set(), {ROWS})
    assert rows.position(ROWS) == NOTHING


async def test_rows_up_to_the_end_of_the_changelog_are_kept(rows: LocalRows) -> None:
    bench = Bench(rows, end=6)
    rows.write(ROWS, {b"a": b"1"}, 5)
    await bench.on_rebalance({ROWS}, set(), {ROWS})
    assert bench.persisted_offset(ROWS) == 5


async def test_rows_that_may_have_missed_tombstones_are_forgotten(tmp_path: Path) -> None:
    now_s = 0.0
    rows = RocksRows(tmp_path, now_s=lambda: now_s)
    bench = Bench(rows)
    rows.write(ROWS, {b"a": b"1"}, 5)
    now_s = WARM_FOR_S + 1.0
    await bench.on_rebalance({ROWS}, set(), set())
    assert rows.position(ROWS) == 5, "a partition that we keep is up to date"
    await bench.on_rebalance({ROWS}, set(), {ROWS})
    assert rows.position(ROWS) == NOTHING


async def test_timers_are_told_of_partitions_lost_recovered_and_of_rows_changed(
    bench: Bench,
) -> None:
    told: list[tuple[str, object]] = []
    bench._ledger.lost.append(lambda p: told.append(("lost", p)))
    bench._ledger.recovered.append(lambda p: told.append(("recovered", p)))
    bench._ledger.changed.append(lambda _, key: told.append(("changed", key)))
    await bench.on_rebalance({ROWS}, set(), {ROWS})
    bench.apply(bench.change(0, b"a", b"1"))
    await bench.on_recovery_completed({ROWS}, set())
    bench.apply(bench.change(1, b"b", b"1"))
    await bench.on_rebalance(set(), {ROWS}, set())
    assert told == [("lost", 3), ("recovered", 3), ("changed", b"b"), ("lost", 3)]
