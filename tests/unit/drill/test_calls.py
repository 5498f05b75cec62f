"""What counts as paid twice, and what may repeat because a fault cut it off."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewstream.drill.calls import Answer, Call, Shadow, count

KILL = Shadow(10.0, 18.0)


def call(
    asked_s: float,
    content: str = "a",
    *,
    answer: Answer = Answer.GIVEN,
    lasts_s: float = 0.5,
    used: tuple[str, ...] = (),
) -> Call:
    answered_s = asked_s + lasts_s
    return Call(content, f"w/{content}", f"ans-{content}", answer, asked_s, answered_s, used, 7)


def test_a_call_made_once_is_paid_once() -> None:
    counts = count([call(1.0), call(2.0, "b", used=("ans-a",))], [], [KILL])
    assert (counts.made, counts.distinct, counts.repeated_in_flight) == (2, 2, 0)
    assert counts.paid_twice == []
    assert counts.tokens_made == counts.tokens_distinct == 14


def test_a_call_that_a_kill_cut_off_may_repeat() -> None:
    counts = count([call(9.8), call(13.0)], [], [KILL])
    assert counts.repeated_in_flight == 1
    assert counts.paid_twice == []


def test_a_call_whose_answer_was_used_must_not_repeat_even_under_a_kill() -> None:
    # The next call held the answer: so it was in the journal when the kill came.
    counts = count([call(9.0), call(9.9, "b", used=("ans-a",)), call(13.0)], [], [KILL])
    assert counts.paid_twice == ["w/a"]


def test_a_tool_that_was_called_with_the_answer_proves_it_as_well() -> None:
    assert count([call(9.8), call(13.0)], [("ans-a", 10.4)], [KILL]).paid_twice == ["w/a"]


def test_a_use_after_the_repetition_proves_nothing() -> None:
    counts = count([call(9.8), call(13.0)], [("ans-a", 14.0)], [KILL])
    assert (counts.paid_twice, counts.repeated_in_flight) == ([], 1)


def test_without_a_fault_no_repetition_is_excused() -> None:
    assert count([call(1.0), call(3.0)], [], [KILL]).paid_twice == ["w/a"]


def test_one_answer_that_was_there_is_enough() -> None:
    # Cut off once, then answered and used, then asked again: the last is one too many.
    calls = [call(9.8), call(11.0), call(12.0, "b", used=("ans-a",)), call(15.0)]
    counts = count(calls, [], [KILL])
    assert (counts.repeated_in_flight, counts.paid_twice) == (1, ["w/a"])


@pytest.mark.parametrize(("answer", "made"), [(Answer.REFUSED, 1), (Answer.GONE, 1)])
def test_what_brought_no_answer_may_be_asked_again(answer: Answer, made: int) -> None:
    counts = count([call(1.0, answer=answer), call(3.0)], [], [])
    assert counts.made == made
    assert counts.paid_twice == []


@given(st.lists(st.floats(0, 100), max_size=6), st.booleans())
def test_every_repetition_is_told_as_one_or_the_other(asked: list[float], fault: bool) -> None:
    shadows = [Shadow(0.0, 200.0)] if fault else []
    counts = count([call(at) for at in asked], [], shadows)
    repeated = max(0, len(asked) - 1)
    assert counts.made - counts.distinct == repeated
    assert counts.repeated_in_flight + len(counts.paid_twice) == repeated
    assert bool(counts.paid_twice) == (repeated > 0 and not fault)
