"""Compares each client's quarter with the quarter before and with the same one a year before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from pydantic import BaseModel, Field
from typing_extensions import override

from crewstream_agents.projects.bizoholic.outputs import ClientPerformance
from crewstream_agents.projects.bizoholic.tools.market import PACKAGE
from crewstream_agents.tools.base import ComputingTool, ToolInputError
from crewstream_agents.tools.dataset import rows
from crewstream_agents.tools.money import Money, cents
from crewstream_agents.tools.periods import QUARTER_PATTERN, Quarter, quarter_of, resolve
from crewstream_agents.tools.statistics import holm, two_proportion_z_test

SIGNIFICANCE = 0.05


class Asked(BaseModel):
    """Arguments of `compare_clients`."""

    period: str | None = Field(
        default=None,
        pattern=QUARTER_PATTERN,
        description="Quarter, e.g. 2025-Q4 or Q4; by default the latest one of the data.",
    )
    client: str | None = Field(
        default=None, description="One client's name; by default all clients."
    )


class Compared(BaseModel):
    """Result of `compare_clients`."""

    period: str
    clients: list[ClientPerformance]
    total_spend: Money
    total_revenue: Money
    summary: str
    recommendations: list[str]
    assumptions: list[str]


@dataclass(frozen=True, slots=True)
class _Totals:
    spend: Decimal
    revenue: Decimal
    clicks: int
    conversions: int


class CompareClients(ComputingTool[Asked]):
    """Period comparison with a two-proportion z-test on conversion rates, Holm-adjusted."""

    name: str = "compare_clients"
    description: str = (
        "Compare the clients' spend, revenue, ROAS, cost per conversion and conversion rate in a "
        "quarter with the quarter before and a year before, with significance."
    )
    args_schema: type[BaseModel] = Asked

    @override
    def compute(self, asked: Asked) -> Compared:
        table = _by_quarter()
        quarter, how = resolve(asked.period, (quarter for quarter, _ in table))
        names = _clients(asked.client, [name for when, name in table if when == quarter])
        adjusted = _p_values(table, quarter, names)
        found = [_performance(table, quarter, name, adjusted.get(name)) for name in names]
        found.sort(key=lambda row: -row.revenue)
        spend = sum((row.spend for row in found), Decimal(0))
        revenue = sum((row.revenue for row in found), Decimal(0))
        return Compared(
            period=str(quarter),
            clients=found,
            total_spend=spend,
            total_revenue=revenue,
            summary=(
                f"In {quarter} {len(found)} clients spent USD {spend:,.2f} and took in "
                f"USD {revenue:,.2f}, {revenue / spend:.2f} for each dollar; "
                f"{_movement(table, quarter, names)}."
            ),
            recommendations=_advice(found),
            assumptions=[
                how,
                "All figures are of Bizoholic's sample data set, not of real clients.",
            ],
        )


def _by_quarter() -> dict[tuple[Quarter, str], _Totals]:
    grouped: dict[tuple[Quarter, str], list[tuple[Decimal, Decimal, int, int]]] = {}
    for row in rows(PACKAGE, "performance.csv"):
        key = (quarter_of(date.fromisoformat(f"{row['month']}-01")), row["client"])
        grouped.setdefault(key, []).append(
            (
                Decimal(row["spend_usd"]),
                Decimal(row["revenue_usd"]),
                int(row["clicks"]),
                int(row["conversions"]),
            )
        )
    return {key: _sum(lines) for key, lines in grouped.items()}


def _sum(lines: Iterable[tuple[Decimal, Decimal, int, int]]) -> _Totals:
    spend, revenue, clicks, conversions = zip(*lines, strict=True)
    return _Totals(sum(spend, Decimal(0)), sum(revenue, Decimal(0)), sum(clicks), sum(conversions))


def _clients(asked: str | None, known: Sequence[str]) -> list[str]:
    if asked is None:
        return sorted(known)
    chosen = [name for name in known if name.lower() == asked.strip().lower()]
    if not chosen:
        raise ToolInputError(
            f"client: {asked!r} is not known. Choose from {', '.join(sorted(known))}."
        )
    return chosen


def _p_values(
    table: dict[tuple[Quarter, str], _Totals], quarter: Quarter, names: Sequence[str]
) -> dict[str, float]:
    """Return the adjusted p-value of each client that has a year before to compare with."""
    tested = [name for name in names if (quarter.a_year_before, name) in table]
    raw = []
    for name in tested:
        now, then = table[quarter, name], table[quarter.a_year_before, name]
        raw.append(
            two_proportion_z_test(
                now.conversions, now.clicks, then.conversions, then.clicks
            ).p_value
        )
    return dict(zip(tested, holm(raw), strict=True))


def _performance(
    table: dict[tuple[Quarter, str], _Totals], quarter: Quarter, name: str, p_value: float | None
) -> ClientPerformance:
    now = table[quarter, name]
    before, then = table.get((quarter.previous, name)), table.get((quarter.a_year_before, name))
    rate = now.conversions / now.clicks
    return ClientPerformance(
        client=name,
        spend=now.spend,
        revenue=now.revenue,
        conversions=now.conversions,
        roas=round(float(now.revenue / now.spend), 2),
        cost_per_conversion=cents(now.spend / now.conversions),
        conversion_rate=round(rate, 5),
        revenue_change=_change(now.revenue, before.revenue) if before else None,
        revenue_change_on_year=_change(now.revenue, then.revenue) if then else None,
        conversion_rate_change=(
            round(rate / (then.conversions / then.clicks) - 1, 4) if then else None
        ),
        p_value=None if p_value is None else round(p_value, 5),
        significant=p_value is not None and p_value < SIGNIFICANCE,
    )


def _change(now: Decimal, before: Decimal) -> float:
    return round(float(now / before) - 1, 4)


def _movement(
    table: dict[tuple[Quarter, str], _Totals], quarter: Quarter, names: Sequence[str]
) -> str:
    then = [table.get((quarter.a_year_before, name)) for name in names]
    known = [totals for totals in then if totals is not None]
    if len(known) < len(names):
        return "there are no data of a year before"
    now = sum((table[quarter, name].revenue for name in names), Decimal(0))
    change = _change(now, sum((totals.revenue for totals in known), Decimal(0)))
    return f"revenue changed by {change:+.1%} on the year before"


def _advice(found: Sequence[ClientPerformance]) -> list[str]:
    losing = [row for row in found if row.significant and (row.conversion_rate_change or 0) < 0]
    winning = [row for row in found if row.significant and (row.conversion_rate_change or 0) > 0]
    unpaid = [row for row in found if row.roas < 1]
    return [
        *(
            f"{row.client}: find out why the conversion rate fell by "
            f"{-(row.conversion_rate_change or 0):.1%} on the year; chance does not explain it."
            for row in losing
        ),
        *(
            f"{row.client}: move budget here; the conversion rate rose by "
            f"{row.conversion_rate_change or 0:.1%} on the year, beyond chance."
            for row in winning
        ),
        *(
            f"{row.client}: spend brings less than it costs (ROAS {row.roas:.2f})."
            for row in unpaid
        ),
    ]
