"""Ranks the gaps of the funnel by the revenue that closing half of each is worth a week of work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from pydantic import BaseModel, Field
from typing_extensions import override

from crewstream_agents.projects.coreldove.outputs import Opportunity
from crewstream_agents.projects.coreldove.tools import funnel
from crewstream_agents.projects.coreldove.tools.funnel import PACKAGE, STEPS, Cell, cells, grouped
from crewstream_agents.tools.base import ComputingTool
from crewstream_agents.tools.dataset import rows
from crewstream_agents.tools.money import Money, cents
from crewstream_agents.tools.periods import resolve


class Asked(funnel.Asked):
    """Arguments of `rank_opportunities`."""

    top: int = Field(default=5, ge=1, le=15, description="How many opportunities to return.")


class Ranked(BaseModel):
    """Result of `rank_opportunities`."""

    period: str
    opportunities: list[Opportunity]
    total_at_stake: Money
    summary: str
    recommendations: list[str]
    assumptions: list[str]


@dataclass(frozen=True, slots=True)
class _Gap:
    device: str
    step: int
    rate: float
    benchmark: float
    orders: float
    revenue: Decimal


class RankOpportunities(ComputingTool[Asked]):
    """Gap to the best known rate, carried through the rest of the funnel, by effort.

    Ranked by value over effort, the core of weighted shortest job first (Reinertsen, The
    Principles of Product Development Flow (2009), 7).
    """

    name: str = "rank_opportunities"
    description: str = (
        "Find where the funnel of a device is behind the best rate seen, what closing half of the "
        "gap is worth in a quarter, and rank these opportunities by revenue a week of work."
    )
    args_schema: type[BaseModel] = Asked

    @override
    def compute(self, asked: Asked) -> Ranked:
        data = cells()
        quarter, _ = resolve(asked.period, (cell.quarter for cell in data))
        now = grouped((cell for cell in data if cell.quarter == quarter), lambda cell: cell.device)
        then = grouped(
            (cell for cell in data if cell.quarter == quarter.a_year_before),
            lambda cell: cell.device,
        )
        levers = {row["step"]: row for row in rows(PACKAGE, "levers.csv")}
        found = [
            _opportunity(gap, levers[STEPS[gap.step]])
            for device in now
            for step in range(1, len(STEPS))
            if (gap := _gap(device, step, now, then)).benchmark > gap.rate
        ]
        found.sort(key=lambda item: -item.revenue_per_week)
        top = [item.model_copy(update={"rank": n}) for n, item in enumerate(found[: asked.top], 1)]
        stake = sum((item.revenue_at_stake for item in top), Decimal(0))
        return Ranked(
            period=str(quarter),
            opportunities=top,
            total_at_stake=stake,
            summary=(
                f"The {len(top)} best opportunities are worth up to USD {stake:,.2f} a quarter, "
                f"{top[0].device} {top[0].step} first."
            ),
            recommendations=[
                f"{item.rank}. {item.device}, {item.step}: {item.lever} "
                f"({item.effort_weeks} weeks, USD {item.revenue_at_stake:,.2f} a quarter)."
                for item in top
            ],
            assumptions=[
                "Half of a gap can be closed; what is won goes on through the funnel at its rates.",
                (
                    "Opportunities are counted each by itself: together they bring more or less "
                    "than their sum."
                ),
            ],
        )


def _gap(device: str, step: int, now: Mapping[str, Cell], then: Mapping[str, Cell]) -> _Gap:
    cell = now[device]
    known = [other.rate(step) for other in now.values()]
    benchmark = max([*known, *([then[device].rate(step)] if device in then else [])])
    extra = cell.counts[step - 1] * (benchmark - cell.rate(step)) / 2
    orders = extra * cell.counts[-1] / cell.counts[step]
    value = orders * float(cell.revenue) / cell.counts[-1]
    return _Gap(device, step, cell.rate(step), benchmark, orders, cents(value))


def _opportunity(gap: _Gap, lever: Mapping[str, str]) -> Opportunity:
    weeks = int(lever["effort_weeks"])
    return Opportunity(
        rank=0,
        device=gap.device,
        step=STEPS[gap.step],
        rate=round(gap.rate, 5),
        benchmark=round(gap.benchmark, 5),
        extra_orders=round(gap.orders, 1),
        revenue_at_stake=gap.revenue,
        effort_weeks=weeks,
        revenue_per_week=cents(gap.revenue / weeks),
        lever=lever["lever"],
    )
