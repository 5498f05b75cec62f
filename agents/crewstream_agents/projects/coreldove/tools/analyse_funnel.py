"""Follows a quarter's sessions through the funnel and compares each step with a year before."""

from __future__ import annotations

from pydantic import BaseModel
from typing_extensions import override

from crewstream_agents.projects.coreldove.outputs import FunnelStep
from crewstream_agents.projects.coreldove.tools.funnel import (
    SIGNIFICANCE,
    STEPS,
    Asked,
    Cell,
    cells,
    total,
)
from crewstream_agents.tools.base import ComputingTool
from crewstream_agents.tools.money import Money, cents
from crewstream_agents.tools.periods import resolve
from crewstream_agents.tools.statistics import holm, two_proportion_z_test, wilson_interval


class Analysed(BaseModel):
    """Result of `analyse_funnel`."""

    period: str
    sessions: int
    orders: int
    conversion: float
    revenue: Money
    average_order_value: Money
    steps: list[FunnelStep]
    summary: str
    recommendations: list[str]
    assumptions: list[str]


class AnalyseFunnel(ComputingTool[Asked]):
    """Step rates with Wilson intervals, and two-proportion z-tests on the year, Holm-adjusted."""

    name: str = "analyse_funnel"
    description: str = (
        "Analyse the shop's conversion funnel in a quarter: each step's losses, its rate with a "
        "95 % interval, and its change on the year with significance."
    )
    args_schema: type[BaseModel] = Asked

    @override
    def compute(self, asked: Asked) -> Analysed:
        data = cells()
        quarter, how = resolve(asked.period, (cell.quarter for cell in data))
        now = total([cell for cell in data if cell.quarter == quarter])
        past = [cell for cell in data if cell.quarter == quarter.a_year_before]
        then = total(past) if past else None
        steps = _steps(now, then)
        worst = max(steps, key=lambda step: step.lost)
        value = cents(now.revenue / now.counts[-1])
        return Analysed(
            period=str(quarter),
            sessions=now.counts[0],
            orders=now.counts[-1],
            conversion=round(now.conversion, 5),
            revenue=now.revenue,
            average_order_value=value,
            steps=steps,
            summary=(
                f"In {quarter} {now.counts[-1]:,} of {now.counts[0]:,} sessions became orders "
                f"({now.conversion:.2%}), worth USD {now.revenue:,.2f}; most are lost before "
                f"{worst.step} ({worst.lost:,})."
            ),
            recommendations=[
                f"Find out why fewer reach {step.step}: the rate fell by "
                f"{-(step.rate_change or 0):.1%} on the year, beyond chance."
                for step in sorted(steps, key=lambda step: step.rate_change or 0)
                if step.significant and (step.rate_change or 0) < 0
            ],
            assumptions=[how, "All figures are of CoreLDove's sample data set."],
        )


def _steps(now: Cell, then: Cell | None) -> list[FunnelStep]:
    adjusted = _p_values(now, then) if then else None
    steps = []
    for index in range(1, len(STEPS)):
        entered, reached = now.counts[index - 1], now.counts[index]
        low, high = wilson_interval(reached, entered)
        p_value = adjusted[index - 1] if adjusted else None
        steps.append(
            FunnelStep(
                step=STEPS[index],
                entered=entered,
                reached=reached,
                lost=entered - reached,
                rate=round(now.rate(index), 5),
                rate_low=round(low, 5),
                rate_high=round(high, 5),
                rate_change=round(now.rate(index) / then.rate(index) - 1, 4) if then else None,
                p_value=None if p_value is None else round(p_value, 5),
                significant=p_value is not None and p_value < SIGNIFICANCE,
            )
        )
    return steps


def _p_values(now: Cell, then: Cell) -> list[float]:
    return holm(
        [
            two_proportion_z_test(
                now.counts[index], now.counts[index - 1], then.counts[index], then.counts[index - 1]
            ).p_value
            for index in range(1, len(STEPS))
        ]
    )
