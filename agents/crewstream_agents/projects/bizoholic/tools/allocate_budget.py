"""Splits a campaign's budget over channels where the next dollar brings the same in each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal

from pydantic import BaseModel, Field
from typing_extensions import override

from crewstream_agents.projects.bizoholic.outputs import ChannelAllocation
from crewstream_agents.projects.bizoholic.tools import market, response
from crewstream_agents.tools.base import ComputingTool, ToolInputError
from crewstream_agents.tools.money import Money, cents, split

DEFAULT_BUDGET = Decimal(10_000)


class Asked(market.Brief):
    """Arguments of `allocate_budget`."""

    budget: float | None = Field(
        default=None, gt=0, le=1e9, description="The whole campaign's budget in USD."
    )


class Allocated(BaseModel):
    """Result of `allocate_budget`."""

    industry: str
    audience: str
    budget: Money
    campaign_duration: int
    allocation: list[ChannelAllocation]
    expected_conversions: float
    expected_revenue: Money
    summary: str
    recommendations: list[str]
    assumptions: list[str]


class AllocateBudget(ComputingTool[Asked]):
    """Marginal-return equalisation over the response curves of `channels.csv`."""

    name: str = "allocate_budget"
    description: str = (
        "Split a campaign budget over marketing channels by their diminishing returns. Gives the "
        "amount, the expected conversions and the marginal return of each channel."
    )
    args_schema: type[BaseModel] = Asked

    @override
    def compute(self, asked: Asked) -> Allocated:
        place = market.read(asked)
        budget = DEFAULT_BUDGET if asked.budget is None else cents(asked.budget)
        amounts = allocate(place, budget)
        lines = _lines(place, budget, amounts)
        conversions = expected_conversions(place, amounts)
        revenue = cents(round(conversions, 1) * conversion_value(place))
        assumed = [] if asked.budget else [f"No budget was given: USD {budget:,.2f} is assumed."]
        return Allocated(
            industry=place.industry,
            audience=place.audience,
            budget=budget,
            campaign_duration=place.duration_days,
            allocation=lines,
            expected_conversions=round(conversions, 1),
            expected_revenue=revenue,
            summary=(
                f"USD {budget:,.2f} over {place.duration_days} days go to {len(lines)} channels, "
                f"{lines[0].channel} first, and are expected to bring {conversions:,.1f} "
                f"conversions worth USD {revenue:,.2f}."
            ),
            recommendations=_advice(place, budget, lines),
            assumptions=[*assumed, *place.assumptions],
        )


def curves(place: market.Market) -> dict[str, response.ResponseCurve]:
    """Return the response curves of a market's channels over the whole campaign."""
    return {
        row["channel"]: response.ResponseCurve(
            capacity=float(row["capacity_per_month"]) * place.months,
            scale=float(row["scale_usd_per_month"]) * place.months,
            # A whole cent, so that a split into cents can meet it.
            minimum=math.ceil(float(row["minimum_usd_per_month"]) * place.months * 100) / 100,
        )
        for row in market.channels(place)
    }


def conversion_value(place: market.Market) -> float:
    """Return what a conversion is worth in a market, in USD."""
    return float(market.channels(place)[0]["conversion_value_usd"])


def expected_conversions(place: market.Market, amounts: Mapping[str, Decimal]) -> float:
    """Return the conversions expected of an allocation."""
    choices = curves(place)
    return sum(choices[name].conversions(float(amount)) for name, amount in amounts.items())


def allocate(place: market.Market, budget: Decimal) -> dict[str, Decimal]:
    """Return the amount of each channel, the largest first; they add up to the budget.

    Raises ToolInputError when the budget does not reach the smallest minimum.
    """
    choices = curves(place)
    smallest = min(choices, key=lambda name: choices[name].minimum)
    if budget < cents(choices[smallest].minimum):
        raise ToolInputError(
            f"budget: USD {budget:,.2f} is too little for {place.duration_days} days. The cheapest "
            f"channel, {smallest}, needs USD {choices[smallest].minimum:,.2f}: raise the budget or "
            "shorten the campaign."
        )
    exact = response.equalise(choices, float(budget))
    amounts = dict(zip(exact, split(budget, list(exact.values())), strict=True))
    return dict(sorted(amounts.items(), key=lambda item: (-item[1], item[0])))


def _lines(
    place: market.Market, budget: Decimal, amounts: Mapping[str, Decimal]
) -> list[ChannelAllocation]:
    choices = curves(place)
    lines = []
    for channel, amount in amounts.items():
        conversions = choices[channel].conversions(float(amount))
        lines.append(
            ChannelAllocation(
                channel=channel,
                amount=amount,
                share=round(float(amount / budget), 4),
                expected_conversions=round(conversions, 1),
                cost_per_conversion=cents(float(amount) / conversions),
                marginal_conversions=round(choices[channel].marginal(float(amount)) * 1000, 2),
            )
        )
    return lines


def _advice(place: market.Market, budget: Decimal, lines: Sequence[ChannelAllocation]) -> list[str]:
    limit = cents(response.break_even(curves(place), conversion_value(place)))
    cheapest = min(lines, key=lambda line: line.cost_per_conversion)
    left_out = sorted(set(curves(place)) - {line.channel for line in lines})
    advice = [
        (
            f"Protect {cheapest.channel}: it has the lowest cost per conversion, "
            f"USD {cheapest.cost_per_conversion:,.2f}."
        ),
        f"Do not go beyond USD {limit:,.2f}: the last dollar would bring less than a dollar."
        if budget < limit
        else f"Spend less: beyond USD {limit:,.2f} the last dollar brings less than a dollar.",
    ]
    if left_out:
        advice.append(
            f"Leave out {', '.join(left_out)}: not worth the minimum spend at this budget."
        )
    return advice
