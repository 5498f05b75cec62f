"""Forecasts a campaign at its budget and around it, with the range that chance alone makes."""

from __future__ import annotations

import math
from decimal import Decimal

from pydantic import BaseModel, Field
from typing_extensions import override

from crewstream_agents.projects.bizoholic.outputs import Scenario
from crewstream_agents.projects.bizoholic.tools import market
from crewstream_agents.projects.bizoholic.tools.allocate_budget import (
    DEFAULT_BUDGET,
    allocate,
    conversion_value,
    curves,
    expected_conversions,
)
from crewstream_agents.tools.base import ComputingTool
from crewstream_agents.tools.money import cents
from crewstream_agents.tools.statistics import NORMAL


class Asked(market.Brief):
    """Arguments of `forecast_results`."""

    budget: float | None = Field(
        default=None, gt=0, le=1e9, description="The whole campaign's budget in USD."
    )


class Forecast(BaseModel):
    """Result of `forecast_results`."""

    scenarios: list[Scenario]
    summary: str
    assumptions: list[str]


class ForecastResults(ComputingTool[Asked]):
    """Re-allocates at 80, 100 and 120 % of the budget; ranges are those of a Poisson count."""

    name: str = "forecast_results"
    description: str = (
        "Forecast conversions and revenue of a campaign at its budget, at 20 % less and at 20 % "
        "more, with 90 % ranges."
    )
    args_schema: type[BaseModel] = Asked

    @override
    def compute(self, asked: Asked) -> Forecast:
        place = market.read(asked)
        budget = DEFAULT_BUDGET if asked.budget is None else cents(asked.budget)
        planned, more = _scenario(place, budget, 0.0), _scenario(place, budget, 0.2)
        smaller = cents(budget * Decimal("0.8"))
        less = [] if _below_minimum(place, smaller) else [_scenario(place, budget, -0.2)]
        gain = round(more.conversions - planned.conversions, 1)
        return Forecast(
            scenarios=[*less, planned, more],
            summary=(
                f"With 20 % more money it would be {gain:,.1f} conversions more, with a revenue of "
                f"USD {more.revenue - planned.revenue:,.2f} for "
                f"USD {more.budget - planned.budget:,.2f}."
            ),
            assumptions=[
                "Ranges show chance only (Poisson, 90 %): wrong benchmarks are not in them.",
                (
                    f"A conversion is worth USD {conversion_value(place):,.2f}, the benchmark of "
                    f"{place.industry}."
                ),
            ],
        )


def _scenario(place: market.Market, planned: Decimal, change: float) -> Scenario:
    budget = cents(planned * Decimal(str(1 + change)))
    expected = expected_conversions(place, allocate(place, budget))
    margin = NORMAL.inv_cdf(0.95) * math.sqrt(expected)
    return Scenario(
        budget_change=change,
        budget=budget,
        conversions=round(expected, 1),
        conversions_low=round(max(0.0, expected - margin), 1),
        conversions_high=round(expected + margin, 1),
        revenue=cents(round(expected, 1) * conversion_value(place)),
    )


def _below_minimum(place: market.Market, budget: Decimal) -> bool:
    return budget < min(cents(curve.minimum) for curve in curves(place).values())
