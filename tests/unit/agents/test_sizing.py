"""How many runners there are to be: within bounds, where they are needed, without swinging."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewstream_agents.sizing import (
    CALM_LOOKS,
    NEAR,
    PRESSED_LOOKS,
    SHY_LOOKS,
    Bounds,
    Family,
    Load,
    Size,
    next_size,
    to_add,
    to_spare,
)

BOUNDS = Bounds(least=1, most=8, concurrency=4)
QUIET = Load(busy=0, waiting=0, cpu=0.1, memory=0.1)
FLOOD = replace(QUIET, waiting=1000)

ratios = st.floats(0, 1)
loads = st.builds(Load, st.integers(0, 200), st.integers(0, 200), ratios, ratios)
bounds_of_any_kind = st.integers(1, 9).flatmap(
    lambda least: st.builds(
        Bounds, st.just(least), st.integers(least, 20), st.integers(1, 16), ratios, ratios
    )
)


def after(size: Size, load: Load, looks: int, bounds: Bounds = BOUNDS) -> Size:
    for _ in range(looks):
        size = next_size(size, load, bounds)
    return size


@given(st.lists(loads, max_size=80), bounds_of_any_kind)
def test_it_stays_within_its_bounds_and_never_adds_where_there_is_no_room(
    seen: list[Load], bounds: Bounds
) -> None:
    size = Size(bounds.least)
    for load in seen:
        before, size = size.runners, next_size(size, load, bounds)
        assert bounds.least <= size.runners <= bounds.most
        assert size.runners - before <= before
        assert before - size.runners <= 1
        if size.runners > before:
            assert load.cpu <= NEAR * bounds.max_cpu
            assert load.memory <= NEAR * bounds.max_memory
            assert (load.busy + load.waiting) > before * bounds.concurrency


def test_it_doubles_as_long_as_runs_wait() -> None:
    assert [after(Size(1), FLOOD, n).runners for n in range(5)] == [1, 2, 4, 8, 8]


def test_it_adds_no_more_than_the_runs_need() -> None:
    assert after(Size(1), replace(QUIET, busy=4, waiting=5), 9).runners == 3


@pytest.mark.parametrize("pressed", [replace(FLOOD, cpu=0.81), replace(FLOOD, memory=0.76)])
def test_a_machine_over_its_threshold_gets_fewer_one_at_a_time(pressed: Load) -> None:
    assert after(Size(8), pressed, PRESSED_LOOKS - 1).runners == 8
    assert after(Size(8), pressed, PRESSED_LOOKS).runners == 7
    assert after(Size(8), pressed, 100).runners == 1


def test_a_moment_of_pressure_changes_nothing() -> None:
    size = Size(4)
    for _ in range(20):
        size = after(after(size, replace(FLOOD, cpu=0.99), 1), replace(FLOOD, cpu=0.75), 1)

    assert size.runners == 4


def test_what_is_not_needed_goes_after_a_while() -> None:
    assert after(Size(3), QUIET, CALM_LOOKS - 1).runners == 3
    assert after(Size(3), QUIET, CALM_LOOKS).runners == 2
    assert after(Size(3), QUIET, 1000).runners == 1


def test_short_lulls_let_nothing_go() -> None:
    size = Size(8)
    for _ in range(20):
        size = after(after(size, QUIET, CALM_LOOKS - 1), replace(FLOOD, cpu=0.75), 1)

    assert size.runners == 8


@given(st.floats(0.05, 0.5), st.floats(0, 0.5))
def test_under_a_lasting_flood_it_does_not_swing(each: float, others: float) -> None:
    """A machine on which every runner adds the same load settles, but for rare tries."""
    size, sizes = Size(1), []
    for _ in range(10 * SHY_LOOKS):
        load = replace(FLOOD, cpu=min(1.0, others + each * size.runners))
        size = next_size(size, load, BOUNDS)
        sizes.append(size.runners)

    changes = sum(a != b for a, b in zip(sizes[SHY_LOOKS:], sizes[SHY_LOOKS + 1 :], strict=False))
    assert changes <= 4 * 10
    assert max(sizes[SHY_LOOKS:]) - min(sizes[SHY_LOOKS:]) <= max(1, max(sizes) // 2)


families = st.dictionaries(
    st.sampled_from(["", "a", "b", "c"]),
    st.integers(0, 5).flatmap(
        lambda n: st.builds(Family, st.just(n), st.integers(0, n), st.integers(0, 5))
    ),
)


@given(families, st.integers(1, 12))
def test_whoever_waits_gets_a_runner_in_the_end(start: dict[str, Family], size: int) -> None:
    now = {name: one for name, one in start.items() if one.runners or one.waiting}
    for _ in range(100):
        if (spared := to_spare(now, size)) is not None:
            one = now[spared]
            assert one.idle
            now[spared] = replace(one, runners=one.runners - 1, idle=one.idle - 1)
        while (added := to_add(now, size)) is not None:
            one = now.get(added, Family())
            now[added] = replace(one, runners=one.runners + 1, waiting=max(0, one.waiting - 1))

    assert all(one.runners for one in now.values() if one.waiting)
    before = sum(one.runners for one in start.values())
    assert sum(one.runners for one in now.values()) <= max(before, size) + len(now)


def test_a_runner_without_a_run_makes_place_for_who_waits_only() -> None:
    full = {"": Family(2, idle=1), "a": Family(1, waiting=3)}

    assert to_spare(full, 3) == ""
    assert to_spare({"": Family(3, idle=3)}, 3) is None
    assert to_spare({"": Family(4, idle=1)}, 3) == ""
    assert to_add({"": Family(1), "a": Family(1, waiting=3)}, 3) == "a"
    assert to_add({"": Family(3), "a": Family(0, waiting=1)}, 3) == "a"
    assert to_add({}, 1) == ""
