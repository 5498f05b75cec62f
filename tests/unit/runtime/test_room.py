"""The window of a process is bounded, and no partition keeps the others out of it."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from crewstream.records import Inbound
from crewstream.runtime.book import Book, Record
from crewstream.runtime.options import RuntimeOptions
from crewstream.runtime.room import room


def options(total: int = 100, size: int = 10_000, window: int = 100) -> RuntimeOptions:
    return RuntimeOptions(
        "a", 1, Path(), window=window, total_window=total, total_bytes=size, batch_records=1
    )


def book(records: int, size: int = 1) -> Book:
    found = Book(0)
    for offset in range(records):
        found.deliver(offset, size)
    return found


def fill(books: list[Book], limits: RuntimeOptions, size: int = 1) -> None:
    """Deliver to every partition for as long as it takes more."""
    while takes := [each for each in books if room(limits, books).takes(each)]:
        for each in takes:
            if room(limits, books).takes(each):
                each.deliver(each.next, size)


@given(st.integers(1, 20), st.integers(20, 500), st.integers(1, 300))
def test_however_many_partitions_flood_one_that_was_empty_takes_something(
    floods: int, total: int, size: int
) -> None:
    books, limits = [book(0) for _ in range(floods)], options(total, 100 * total, total)
    fill(books, limits, size)
    assert sum(len(each.open) for each in books) <= total
    assert sum(each.open_bytes for each in books) <= 100 * total + size
    capacity = min(total, 100 * total // size)
    assert room(limits, [*books, fresh := book(0)]).takes(fresh) or capacity <= 3 * floods


def test_one_partition_gets_two_thirds_and_many_nearly_all() -> None:
    alone, many = [book(0)], [book(0) for _ in range(10)]
    fill(alone, options(300, window=300))
    fill(many, options(300, window=300))
    assert len(alone[0].open) == 200
    assert sum(len(each.open) for each in many) > 280


def test_large_records_count_by_their_size() -> None:
    books = [book(0)]
    fill(books, options(size=9_000), size=1_000)
    assert len(books[0].open) == 6


def test_a_partition_takes_no_more_than_its_own_window() -> None:
    books = [book(0)]
    fill(books, options(window=5))
    assert len(books[0].open) == 5


def test_what_is_acknowledged_makes_room_once() -> None:
    found = book(0)
    one = Record(Inbound("t", 0, 0, b"key", b"value", [("name", b"1234")], 0), found, 1)
    found.deliver(0, one.size)
    assert found.open_bytes == 16
    one.ack()
    one.ack()
    assert (found.open_bytes, found.open) == (0, {})
