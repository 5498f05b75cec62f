"""CoreLDove's computations, on known answers and on what must always hold."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewstream_agents.projects.coreldove.tools.analyse_funnel import AnalyseFunnel
from crewstream_agents.projects.coreldove.tools.compare_groups import CompareGroups, decompose
from crewstream_agents.projects.coreldove.tools.funnel import STEPS, Cell, cells, grouped, total
from crewstream_agents.projects.coreldove.tools.rank_opportunities import RankOpportunities
from crewstream_agents.tools.base import ComputingTool
from crewstream_agents.tools.periods import Quarter
from crewstream_agents.tools.statistics import wilson_interval

Q4 = Quarter(2025, 4)


def ask(tool: ComputingTool[Any], **arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(tool.run(**arguments))
    return found


def cell(device: str, sessions: int, orders: int) -> Cell:
    return Cell(Q4, device, "new", (sessions, 0, 0, 0, 0, orders), Decimal(orders))


def test_every_session_is_either_reached_or_lost() -> None:
    found = ask(AnalyseFunnel(), period="Q4")
    assert [step["step"] for step in found["steps"]] == list(STEPS[1:])
    entered = found["sessions"]
    for step in found["steps"]:
        assert step["entered"] == entered == step["reached"] + step["lost"]
        low, high = wilson_interval(step["reached"], step["entered"])
        assert (step["rate_low"], step["rate_high"]) == pytest.approx((low, high), abs=1e-5)
        entered = step["reached"]
    assert found["orders"] == entered


def test_the_broken_payment_page_of_the_data_is_found() -> None:
    steps = {step["step"]: step for step in ask(AnalyseFunnel(), period="2025-Q4")["steps"]}
    assert steps["payments"]["significant"] is True
    assert steps["payments"]["rate_change"] < -0.03
    assert steps["orders"]["significant"] is False


def test_the_first_year_is_compared_with_nothing() -> None:
    found = ask(AnalyseFunnel(), period="2024-Q2")
    assert {step["rate_change"] for step in found["steps"]} == {None}
    compared = ask(CompareGroups(), period="2024-Q2")
    assert (compared["mix_effect"], compared["rate_effect"]) == (0, 0)
    assert "no data of a year before" in compared["summary"]


def test_other_visitors_alone_are_a_mix_effect() -> None:
    then = {"a": cell("a", 100, 10), "b": cell("b", 100, 2)}
    now = {"a": cell("a", 50, 5), "b": cell("b", 150, 3)}
    assert decompose(then, now) == pytest.approx((-0.02, 0.0))


COUNTS = st.tuples(st.integers(1, 10**6), st.integers(0, 1000)).map(
    lambda pair: (pair[0] + pair[1], pair[1])
)


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_mix_and_rate_effects_add_up_to_the_change(
    a: tuple[int, int], b: tuple[int, int], c: tuple[int, int], d: tuple[int, int]
) -> None:
    then = {"a": cell("a", *a), "b": cell("b", *b)}
    now = {"a": cell("a", *c), "b": cell("b", *d)}
    change = total(list(now.values())).conversion - total(list(then.values())).conversion
    assert sum(decompose(then, now)) == pytest.approx(change, abs=1e-12)


def test_each_group_is_compared_with_the_others() -> None:
    rows = {row["group"]: row for row in ask(CompareGroups(), period="Q4")["comparisons"]}
    assert set(rows) == {"desktop", "mobile", "tablet", "new", "returning"}
    assert rows["mobile"]["conversion"] < rows["mobile"]["others_conversion"]
    assert rows["mobile"]["significant"] is True
    # Two segments are each other's others.
    assert rows["new"]["conversion"] == rows["returning"]["others_conversion"]


def test_opportunities_are_ranked_by_value_over_effort() -> None:
    found = ask(RankOpportunities(), period="Q4", top=15)["opportunities"]
    assert [row["rank"] for row in found] == list(range(1, len(found) + 1))
    values = [row["revenue_per_week"] for row in found]
    assert values == sorted(values, reverse=True)
    assert all(row["benchmark"] > row["rate"] for row in found)


def test_an_opportunity_is_half_the_gap_carried_to_the_orders() -> None:
    best = ask(RankOpportunities(), period="Q4", top=1)["opportunities"][0]
    devices = grouped((c for c in cells() if c.quarter == Q4), lambda c: c.device)
    own, step = devices[best["device"]], STEPS.index(best["step"])
    more = own.counts[step - 1] * (best["benchmark"] - best["rate"]) / 2
    orders = more * own.counts[-1] / own.counts[step]
    value = orders * float(own.revenue) / own.counts[-1]
    assert best["extra_orders"] == pytest.approx(orders, rel=1e-3)
    assert best["revenue_at_stake"] == pytest.approx(value, rel=1e-3)


def test_the_stake_is_the_sum_of_what_is_shown() -> None:
    found = ask(RankOpportunities(), top=3)
    shown = sum(Decimal(str(row["revenue_at_stake"])) for row in found["opportunities"])
    assert shown == Decimal(str(found["total_at_stake"]))
