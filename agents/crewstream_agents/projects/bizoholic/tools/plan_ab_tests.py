"""Says whether a campaign's traffic can tell two variants apart, and after how many days."""

from __future__ import annotations

import math

from pydantic import BaseModel, Field
from typing_extensions import override

from crewstream_agents.projects.bizoholic.outputs import ABTest
from crewstream_agents.projects.bizoholic.tools import market
from crewstream_agents.projects.bizoholic.tools.platforms import Platform, PlatformBrief, choose
from crewstream_agents.tools.base import ComputingTool
from crewstream_agents.tools.statistics import minimum_detectable_lift, sample_size


class Asked(PlatformBrief):
    """Arguments of `plan_ab_tests`."""

    relative_lift: float = Field(
        default=0.2, gt=0, le=5, description="Relative lift of the click rate to show, e.g. 0.2."
    )


class Planned(BaseModel):
    """Result of `plan_ab_tests`."""

    tests: list[ABTest]
    recommendations: list[str]
    assumptions: list[str]


class PlanABTests(ComputingTool[Asked]):
    """Sample sizes for two proportions at 5 % significance and 80 % power, by platform."""

    name: str = "plan_ab_tests"
    description: str = (
        "Plan an A/B test of two post variants for each platform: impressions needed, days until "
        "then, and the smallest lift that the campaign's traffic can show."
    )
    args_schema: type[BaseModel] = Asked

    @override
    def compute(self, asked: Asked) -> Planned:
        place = market.read(asked)
        tests = [
            _test(platform, place.duration_days, asked.relative_lift)
            for platform in choose(place.audience, asked.platforms)
        ]
        return Planned(
            tests=tests,
            recommendations=[_advice(test) for test in tests],
            assumptions=["A/B tests: two-sided, 5 % significance, 80 % power, equal halves."],
        )


def _test(platform: Platform, campaign_days: int, lift: float) -> ABTest:
    needed = sample_size(platform.click_rate, lift)
    days = math.ceil(2 * needed / platform.impressions_per_day)
    a_variant = platform.impressions_per_day * campaign_days // 2
    return ABTest(
        platform=platform.name,
        baseline_click_rate=platform.click_rate,
        relative_lift=lift,
        impressions_per_variant=needed,
        days=days,
        fits_campaign=days <= campaign_days,
        detectable_lift=round(minimum_detectable_lift(platform.click_rate, a_variant), 4),
    )


def _advice(test: ABTest) -> str:
    if test.fits_campaign:
        return f"On {test.platform}, test for {test.days} days before choosing a variant."
    return (
        f"On {test.platform}, do not choose by clicks: a lift of {test.relative_lift:.0%} would "
        f"take {test.days} days; the campaign can only show {test.detectable_lift:.1%}."
    )
