"""When timers are sent: at their time, again while the row stands still, never afterwards."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from crewstream.runtime.timers import RESEND_S, Due, Timers, TimerService

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def sent(timers: Timers, seconds: float) -> list[bytes]:
    return [due.key for due in timers.take(at(seconds))]


def test_a_timer_is_sent_when_it_is_due_and_not_before() -> None:
    timers = Timers()
    timers.set(0, b"a", at(10))
    assert sent(timers, 9.9) == []
    assert list(timers.take(at(10))) == [Due(0, b"a", at(10))]


def test_a_timer_is_sent_again_only_after_a_while() -> None:
    timers = Timers()
    timers.set(0, b"a", at(10))
    assert sent(timers, 10) == [b"a"]
    timers.set(0, b"a", at(10))
    assert sent(timers, 10 + RESEND_S - 1) == []
    assert sent(timers, 10 + RESEND_S) == [b"a"]


def test_a_row_that_moved_on_is_due_at_its_new_time_only() -> None:
    timers = Timers()
    timers.set(0, b"a", at(10))
    timers.set(0, b"a", at(20))
    assert sent(timers, 15) == []
    assert sent(timers, 20) == [b"a"]
    timers.set(0, b"a", None)
    assert sent(timers, 1000) == []
    assert len(timers) == 0


def test_a_lost_partition_is_forgotten() -> None:
    timers = Timers()
    timers.set(0, b"a", at(10))
    timers.set(1, b"b", at(10))
    timers.forget(0)
    assert sent(timers, 10) == [b"b"]


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.none() | st.integers(0, 50))))
def test_what_is_sent_is_what_the_last_writes_left(writes: list[tuple[bytes, int | None]]) -> None:
    timers, last = Timers(), dict[bytes, int | None]()
    for key, due in writes:
        timers.set(0, key, None if due is None else at(due))
        last[key] = due
    assert sorted(sent(timers, 25)) == sorted(k for k, due in last.items() if (due or 0) <= 25
                                              and due is not None)  # fmt: skip


def test_timers_changed_often_do_not_pile_up() -> None:
    timers = Timers()
    for second in range(10_000):
        timers.set(0, b"a", at(100_000 + second))
    assert len(timers._heap) < 2000  # noqa: SLF001


async def test_recovered_rows_are_found_a_few_at_a_time() -> None:
    timers, turns = Timers(), 0
    rows = {b"%d" % number: at(number) for number in range(1000)}

    async def send(_: Due) -> None: ...

    service = TimerService(
        timers,
        send=send,
        due_of=lambda _, key: rows[key],
        keys_of=lambda _: list(rows),
        may_send=lambda: True,
    )
    service.recovered(0)
    while len(timers) < len(rows):
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 10
    service.lost(0)
    assert len(timers) == 0
