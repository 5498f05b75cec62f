"""Scores follow the record; choices are functions of the assignment, and say why."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewstream_agents.selection import (
    EXPLORE,
    PRIOR_MEAN,
    WEIGHTS,
    AgentRecord,
    ordered,
    selection,
    standing,
    unknown,
    worth,
)
from crewstream_agents.spec import Candidate


@st.composite
def records(draw: Any, agent: str = "a") -> AgentRecord:
    runs = draw(st.integers(0, 500))
    first = draw(st.integers(0, runs))
    succeeded = draw(st.integers(0, runs))
    return AgentRecord(
        agent,
        runs=runs,
        succeeded=succeeded,
        first_tries=first,
        first_succeeded=draw(st.integers(0, min(first, succeeded))),
        quality=draw(st.floats(0, 1)),
        duration_ms=draw(st.floats(0, 1e6)),
        cost_usd=draw(st.floats(0, 100)),
    )


CANDIDATES = st.lists(
    st.builds(
        Candidate,
        st.text("abcdef", min_size=1, max_size=3),
        st.floats(0, 1),
        st.integers(0, 1000),
        st.floats(0, 1),
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda each: each.agent,
)
USUAL = AgentRecord("a", 100, 80, 80, 60, 0.9, 1000.0, 0.01)


def test_the_weights_are_a_whole() -> None:
    assert sum(WEIGHTS.values()) == pytest.approx(1)


@given(mine=records(), theirs=records("b"))
def test_scores_and_their_intervals_are_between_0_and_1(
    mine: AgentRecord, theirs: AgentRecord
) -> None:
    found = standing(mine, (mine, theirs))

    assert 0 <= found.score <= 1
    assert 0 <= found.confidence <= 1
    assert 0 <= worth(mine, (mine, theirs)) <= 1


@given(mine=records(), theirs=records("b"))
def test_the_score_lies_between_the_prior_and_the_worth(
    mine: AgentRecord, theirs: AgentRecord
) -> None:
    score, own = standing(mine, (mine, theirs)).score, worth(mine, (mine, theirs))

    assert min(PRIOR_MEAN, own) - 1e-9 <= score <= max(PRIOR_MEAN, own) + 1e-9


def test_an_agent_without_a_record_is_the_prior() -> None:
    assert unknown("a") == Candidate("a", PRIOR_MEAN, 0, unknown("a").confidence)
    assert unknown("a").confidence == pytest.approx(0.367, abs=1e-3)


@pytest.mark.parametrize(
    "better",
    [
        replace(USUAL, succeeded=90),
        replace(USUAL, first_succeeded=70),
        replace(USUAL, quality=1.0),
        replace(USUAL, duration_ms=500.0),
        replace(USUAL, cost_usd=0.001),
    ],
)
def test_whatever_is_better_scores_higher(better: AgentRecord) -> None:
    other = replace(USUAL, agent="b")

    assert standing(better, (better, other)).score > standing(USUAL, (USUAL, other)).score


def test_more_runs_of_the_same_count_for_more_and_are_surer() -> None:
    few, many = AgentRecord("a", 10, 10, 10, 10), AgentRecord("a", 1000, 1000, 1000, 1000)

    assert PRIOR_MEAN < standing(few, [few]).score < standing(many, [many]).score
    assert standing(few, [few]).confidence > standing(many, [many]).confidence


def test_an_agent_that_always_fails_is_worth_nothing() -> None:
    assert worth(AgentRecord("a", 50, 0, 50, 0, duration_ms=1.0), [USUAL]) == 0


@given(candidates=CANDIDATES, assignment=st.text(), explore=st.floats(0, 1))
def test_an_order_is_a_function_of_assignment_and_scores(
    candidates: list[Candidate], assignment: str, explore: float
) -> None:
    once = ordered(candidates, assignment, explore)

    assert ordered(list(candidates), assignment, explore) == once
    assert sorted(each.agent for each in once.candidates) == sorted(e.agent for e in candidates)
    best = max(each.score for each in candidates)
    assert once.explored or once.candidates[0].score == best


@given(candidates=CANDIDATES, assignment=st.text())
def test_without_exploration_the_best_comes_first_and_equals_as_declared(
    candidates: list[Candidate], assignment: str
) -> None:
    order = ordered(candidates, assignment, 0.0)

    assert list(order.candidates) == sorted(candidates, key=lambda each: -each.score)
    assert not order.explored


def test_the_better_is_chosen_but_for_the_share_that_explores() -> None:
    """20 000 assignments: the share is within four standard errors of what is documented."""
    good = standing(AgentRecord("good", 200, 196, 200, 190), ())
    bad = standing(AgentRecord("bad", 200, 120, 200, 80), ())
    assignments = [f"w{number}/t/1" for number in range(20_000)]

    chosen = Counter(
        ordered([bad, good], each, EXPLORE).candidates[0].agent for each in assignments
    )

    assert chosen["bad"] / 20_000 == pytest.approx(EXPLORE, abs=4 * (0.09 / 20_000) ** 0.5)


def test_exploration_tries_the_promising_more_often() -> None:
    best = Candidate("best", 0.95, 500)
    hopeful, hopeless = Candidate("hopeful", 0.7, 0), Candidate("hopeless", 0.2, 500)
    assignments = [f"w{number}/t/1" for number in range(2_000)]

    first = (ordered([best, hopeful, hopeless], each, 1.0).candidates[0] for each in assignments)
    chosen = Counter(each.agent for each in first)

    assert set(chosen) <= {"hopeful", "hopeless"}
    assert chosen["hopeful"] > 10 * chosen["hopeless"]


def test_the_choice_says_why() -> None:
    known = [Candidate("a", 0.9, 40, 0.08), Candidate("b", 0.7, 0, 0.37)]

    def reason(order: Any, taken: int = 0, busy: Any = ()) -> tuple[str, bool, str]:
        made = selection("k", order, taken, busy)
        return made.agent, made.explored, made.reason

    order = ordered(known, "x", 0.0)
    assert reason(order) == (
        "a",
        False,
        "highest score: a 0.90 ± 0.08 (40 runs); beside b 0.70 ± 0.37 (no record)",
    )
    agent, explored, why = reason(order, 1, {"a"})
    assert (agent, explored) == ("b", False)
    assert why.startswith("highest score of those that are free: b 0.70 ± 0.37 (no record)")
    assert why.endswith("; beside a 0.90 ± 0.08 (40 runs, busy)")
    agent, explored, why = reason(ordered(known, "x", 1.0))
    assert (agent, explored) == ("b", True)
    assert why.startswith("tried to learn about it: b")
    assert selection("k", order, 1, {"a"}).candidates[0].busy


def test_who_replaces_a_busy_one_was_not_explored() -> None:
    order = ordered([Candidate("a", 0.9, 40), Candidate("b", 0.5, 40)], "x", 1.0)

    made = selection("k", order, 1, {"b"})

    assert (made.agent, made.explored) == ("a", False)


def test_without_any_record_the_first_declared_one_is_chosen() -> None:
    made = selection("k", ordered([unknown("b"), unknown("a")], "x", 0.0))

    assert made.agent == "b"
    assert made.reason.startswith("none has a record yet: the first one that is declared")
