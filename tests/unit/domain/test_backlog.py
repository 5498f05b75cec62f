"""How long runs usually last, and how long what waits would keep the slots busy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewstream.domain.backlog import FIRST_GUESS_S, Usual, backlog_s
from crewstream.domain.job import Job
from crewstream.domain.window import Window

AT = datetime(2026, 1, 1, tzinfo=UTC)

kinds = st.tuples(st.sampled_from("pq"), st.sampled_from("ab"))
durations = st.floats(0, 1000)


def job(name: str, project: str = "p", crew: str = "a", key: str = "") -> Job:
    return Job(name, "acme", project, "w", key or name, AT, AT, crew=crew)


@given(st.lists(st.tuples(kinds, durations), max_size=50))
def test_what_is_usual_lies_between_the_least_and_the_most_that_was_seen(
    seen: list[tuple[tuple[str, str], float]],
) -> None:
    usual = Usual()
    for (project, crew), ran_s in seen:
        usual.seen(project, crew, ran_s)

    for project, crew in (("p", "a"), ("p", "b"), ("q", "a"), ("q", "never")):
        own = [ran_s for kind, ran_s in seen if kind == (project, crew)]
        of_project = [ran_s for kind, ran_s in seen if kind[0] == project]
        ran = own or of_project or [FIRST_GUESS_S]
        assert min(ran) - 1e-6 <= usual.of(project, crew) <= max(ran) + 1e-6


def test_the_latest_runs_count_most() -> None:
    usual = Usual()
    for ran_s in [1.0] * 50 + [10.0] * 30:
        usual.seen("p", "a", ran_s)

    assert 9.0 < usual.of("p", "a") < 10.0


@given(st.dictionaries(kinds, st.integers(1, 100)), st.integers(1, 50))
def test_twice_the_slots_halve_the_backlog_and_twice_the_work_doubles_it(
    runnable: dict[tuple[str, str], int], slots: int
) -> None:
    usual = Usual()
    usual.seen("p", "a", 3.0)
    now = backlog_s(runnable, usual, slots)

    wide = backlog_s(runnable, usual, 2 * slots)
    more = backlog_s({kind: 2 * count for kind, count in runnable.items()}, usual, slots)

    assert now.keys() == {project for project, _ in runnable}
    assert all(wide[name] == pytest.approx(s / 2) for name, s in now.items())
    assert all(more[name] == pytest.approx(2 * s) for name, s in now.items())


def test_a_few_long_runs_weigh_more_than_many_short_ones() -> None:
    usual = Usual()
    usual.seen("p", "long", 600.0)
    usual.seen("q", "short", 0.1)

    assert dict(backlog_s({("p", "long"): 4, ("q", "short"): 100}, usual, 8)) == {
        "p": pytest.approx(300.0),
        "q": pytest.approx(1.25),
    }


def test_what_waits_for_a_key_is_no_reason_for_more_slots() -> None:
    window: Window[str] = Window()
    for name, key in (("1", "k"), ("2", "k"), ("3", ""), ("4", "other"), ("5", "other")):
        window.add(name, job(name, key=key))

    assert window.runnable() == {("p", "a"): 3}
    assert window.pick() == "1"
    assert window.runnable() == {("p", "a"): 2}


@given(st.lists(st.tuples(kinds, st.sampled_from(["", "k"])), max_size=30), st.integers(0, 30))
def test_all_that_is_runnable_would_run_if_there_were_room(
    jobs: list[tuple[tuple[str, str], str]], begun: int
) -> None:
    window: Window[str] = Window()
    names: Mapping[str, Job] = {
        str(n): job(str(n), *kind, key=key) for n, (kind, key) in enumerate(jobs)
    }
    for name, one in names.items():
        window.add(name, one)
    for _ in range(min(begun, len(jobs))):
        window.pick()

    told = window.runnable().total()
    runs: Counter[str] = Counter()
    while (item := window.pick()) is not None:
        runs[names[item].project_id] += 1
    assert told == runs.total()
