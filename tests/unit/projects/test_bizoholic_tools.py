"""Bizoholic's computations, on known answers and on what must always hold."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crewstream_agents.projects.bizoholic.tools import market, platforms, response
from crewstream_agents.projects.bizoholic.tools.allocate_budget import (
    AllocateBudget,
    allocate,
    curves,
)
from crewstream_agents.projects.bizoholic.tools.attribute_channels import AttributeChannels
from crewstream_agents.projects.bizoholic.tools.attribution import Path, last_touch, removal_effect
from crewstream_agents.projects.bizoholic.tools.compare_clients import CompareClients
from crewstream_agents.projects.bizoholic.tools.compose_variants import (
    ComposeVariants,
    fit,
    reading_ease,
)
from crewstream_agents.projects.bizoholic.tools.forecast_results import ForecastResults
from crewstream_agents.projects.bizoholic.tools.plan_ab_tests import PlanABTests
from crewstream_agents.projects.bizoholic.tools.plan_calendar import PlanCalendar
from crewstream_agents.projects.bizoholic.tools.plan_timeline import PlanTimeline
from crewstream_agents.tools.base import ComputingTool, ToolInputError
from crewstream_agents.tools.statistics import sample_size

CURVES = st.dictionaries(
    st.sampled_from("abcdef"),
    st.builds(
        response.ResponseCurve,
        capacity=st.floats(1, 500),
        scale=st.floats(100, 20_000),
        minimum=st.floats(0, 2000),
    ),
    min_size=1,
)
INDUSTRIES = st.sampled_from([None, "technology", "SaaS", "retail", "e-commerce", "mining"])
AUDIENCES = st.sampled_from([None, "B2B software companies", "young parents", "everybody"])


def ask(tool: ComputingTool[Any], **arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(tool.run(**arguments))
    return found


def test_equal_channels_get_equal_parts() -> None:
    curve = response.ResponseCurve(100, 5000, 0)
    assert response.equalise({"a": curve, "b": curve}, 8000) == pytest.approx(
        {"a": 4000, "b": 4000}
    )


def test_two_channels_in_closed_form() -> None:
    # a/b*exp(-x/b) equal and x + y = 3000: the steeper curve first gets 1000*ln 2.
    steep, flat = response.ResponseCurve(20, 1000, 0), response.ResponseCurve(10, 1000, 0)
    found = response.equalise({"steep": steep, "flat": flat}, 3000)
    assert found["steep"] - found["flat"] == pytest.approx(693.147, abs=1e-3)


@given(CURVES, st.floats(2000, 1e8))
def test_a_split_spends_the_budget_equalises_and_respects_minimums(
    choices: dict[str, response.ResponseCurve], budget: float
) -> None:
    found = response.equalise(choices, budget)
    assert sum(found.values()) == pytest.approx(budget)
    assert all(spend >= choices[name].minimum for name, spend in found.items())
    free = [
        choices[name].log_marginal(spend)
        for name, spend in found.items()
        if spend > choices[name].minimum
    ]
    assert not free or max(free) - min(free) == pytest.approx(0, abs=1e-6 * max(1, abs(free[0])))


@given(CURVES, st.floats(2000, 60_000), st.floats(0.1, 0.9))
def test_moving_money_between_channels_never_brings_more(
    choices: dict[str, response.ResponseCurve], budget: float, part: float
) -> None:
    found = response.equalise(choices, budget)
    best = sum(choices[name].conversions(spend) for name, spend in found.items())
    for giver in found:
        for taker in found:
            moved = min(100.0, (found[giver] - choices[giver].minimum) * part)
            other = dict(found)
            other[giver] -= moved
            other[taker] += moved
            brought = sum(choices[name].conversions(spend) for name, spend in other.items())
            assert brought <= best + 1e-6


@settings(max_examples=60)
@given(INDUSTRIES, AUDIENCES, st.integers(1, 730), st.decimals(2000, 10**7, places=2))
def test_an_allocation_sums_to_the_cent_and_respects_minimums(
    industry: str | None, audience: str | None, days: int, budget: Decimal
) -> None:
    place = market.read(
        market.Brief(industry=industry, target_audience=audience, campaign_duration=days)
    )
    minimums = {name: Decimal(str(curve.minimum)) for name, curve in curves(place).items()}
    if budget < min(minimums.values()):
        with pytest.raises(ToolInputError, match="too little"):
            allocate(place, budget)
        return
    amounts = allocate(place, budget)
    assert sum(amounts.values()) == budget
    assert all(amount >= minimums[name] for name, amount in amounts.items())


def test_more_money_brings_more_but_each_dollar_less() -> None:
    brief = {"industry": "technology", "target_audience": "B2B", "campaign_duration": 90}
    small, middle, large = (
        ask(AllocateBudget(), budget=amount, **brief)["expected_conversions"]
        for amount in (30_000, 50_000, 70_000)
    )
    assert small < middle < large
    assert large - middle < middle - small


def test_a_budget_below_every_minimum_says_what_is_needed() -> None:
    with pytest.raises(ToolInputError, match=r"email_nurture, needs USD 900\.00.*raise the budget"):
        AllocateBudget().run(budget=100, campaign_duration=90, target_audience="B2B")


def test_what_a_brief_does_not_say_is_stated() -> None:
    found = ask(AllocateBudget())
    assert len(found["assumptions"]) == 4
    assert found["industry"] == "general"
    assert found["budget"] == 10_000


@pytest.mark.parametrize(
    ("said", "audience"),
    [("B2B software companies", "b2b"), ("small businesses", "b2b"), ("young parents", "b2c")],
)
def test_the_audience_is_read_from_its_words(said: str, audience: str) -> None:
    place = market.read(market.Brief(target_audience=said))
    assert place.audience == audience


@given(
    st.dictionaries(st.text("abc", min_size=1), st.decimals(0, 10**6, places=2), min_size=1),
    st.integers(1, 730),
)
def test_a_timeline_covers_every_day_once_and_every_cent(
    amounts: dict[str, Decimal], days: int
) -> None:
    lines = [{"channel": name, "amount": float(amount)} for name, amount in amounts.items()]
    phases = ask(PlanTimeline(), allocation=lines, campaign_duration=days)["timeline"]
    covered = [day for p in phases for day in range(p["first_day"], p["last_day"] + 1)]
    assert covered == list(range(1, days + 1))
    for name, amount in amounts.items():
        parts = [c["amount"] for p in phases for c in p["channels"] if c["channel"] == name]
        assert sum(Decimal(str(part)) for part in parts) == amount


def test_a_forecast_brackets_the_plan() -> None:
    less, planned, more = ask(ForecastResults(), budget=50_000, campaign_duration=90)["scenarios"]
    assert (less["budget"], planned["budget"], more["budget"]) == (40_000, 50_000, 60_000)
    assert less["conversions"] < planned["conversions"] < more["conversions"]
    spread = planned["conversions_high"] - planned["conversions"]
    assert spread == pytest.approx(1.6449 * planned["conversions"] ** 0.5, abs=0.11)


def test_a_forecast_leaves_out_a_budget_that_reaches_no_channel() -> None:
    scenarios = ask(ForecastResults(), budget=310, campaign_duration=30)["scenarios"]
    assert [scenario["budget_change"] for scenario in scenarios] == [0.0, 0.2]


def test_the_reading_ease_of_a_plain_sentence() -> None:
    assert reading_ease("The cat sat on the mat.") == 116.1
    hard = reading_ease("Organisational heterogeneity necessitates differentiation.")
    assert hard < 0


@given(st.lists(st.text("abc ", min_size=1), min_size=2, max_size=6), st.integers(10, 200))
def test_a_post_never_exceeds_its_room(sentences: list[str], room: int) -> None:
    assert len(fit(sentences, room)) <= room


def test_every_platform_gets_two_variants_within_its_limit() -> None:
    found = ask(ComposeVariants(), platforms=["x", "TikTok", "x"], target_audience="a" * 500)
    assert [piece["platform"] for piece in found["content"]] == ["x", "tiktok"]
    for piece in found["content"]:
        assert [variant["variant"] for variant in piece["variants"]] == ["A", "B"]
        for variant in piece["variants"]:
            shown = f"{variant['text']} {' '.join(variant['hashtags'])}"
            assert len(shown) == variant["characters"] <= piece["character_limit"]


def test_an_unknown_platform_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ToolInputError, match=r"myspace is not known.*linkedin"):
        platforms.choose("b2b", ["myspace"])


def test_a_calendar_gives_every_post_a_pillar() -> None:
    for entry in ask(PlanCalendar(), campaign_duration=90)["calendar"]:
        assert sum(entry["pillars"].values()) == entry["posts"]
        assert entry["posts"] == round(entry["posts_per_week"] * 90 / 7)


def test_an_ab_test_ends_when_both_variants_were_seen_enough() -> None:
    test = ask(PlanABTests(), platforms=["linkedin"], campaign_duration=90)["tests"][0]
    assert test["impressions_per_variant"] == sample_size(0.009, 0.2)
    assert (test["days"] - 1) * 2600 < 2 * test["impressions_per_variant"] <= test["days"] * 2600
    assert test["fits_campaign"] is (test["days"] <= 90)
    short = ask(PlanABTests(), platforms=["linkedin"], campaign_duration=7)["tests"][0]
    assert short["fits_campaign"] is False
    assert short["detectable_lift"] > test["detectable_lift"]


def test_single_channel_paths_are_credited_as_they_convert() -> None:
    paths = [Path(("a",), 10, 5), Path(("b",), 10, 2)]
    assert removal_effect(paths) == pytest.approx(last_touch(paths))


def test_a_path_of_two_is_shared_where_last_touch_gives_all() -> None:
    paths = [Path(("a", "b"), 10, 5)]
    assert last_touch(paths) == {"b": 5.0}
    assert removal_effect(paths) == pytest.approx({"a": 2.5, "b": 2.5})


def test_attributed_revenue_is_all_of_it() -> None:
    found = ask(AttributeChannels(), period="Q4")
    assert found["period"] == "2025-Q4"
    shown = sum(Decimal(str(row["attributed_revenue"])) for row in found["channels"])
    assert f"{shown:,.2f}" in found["summary"]


def test_totals_are_the_sums_of_the_clients() -> None:
    found = ask(CompareClients(), period="2025-Q4")
    for total, field in (("total_spend", "spend"), ("total_revenue", "revenue")):
        parts = sum(Decimal(str(row[field])) for row in found["clients"])
        assert parts == Decimal(str(found[total]))


def test_the_first_quarter_of_the_data_has_nothing_to_compare_with() -> None:
    rows = ask(CompareClients(), period="2024-Q1")["clients"]
    assert {row["revenue_change_on_year"] for row in rows} == {None}
    assert {row["significant"] for row in rows} == {False}


def test_one_client_by_name_and_an_unknown_one() -> None:
    found = ask(CompareClients(), client="delta learning")
    assert [row["client"] for row in found["clients"]] == ["Delta Learning"]
    with pytest.raises(ToolInputError, match="Choose from Acorn Analytics"):
        CompareClients().run(client="Nobody")
