"""Compares what channels get by last touch with what they are worth by removal effect."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

from pydantic import BaseModel, Field
from typing_extensions import override

from crewstream_agents.projects.bizoholic.outputs import ChannelCredit
from crewstream_agents.projects.bizoholic.tools.attribution import Path, last_touch, removal_effect
from crewstream_agents.projects.bizoholic.tools.market import PACKAGE
from crewstream_agents.tools.base import ComputingTool
from crewstream_agents.tools.dataset import rows
from crewstream_agents.tools.money import split
from crewstream_agents.tools.periods import QUARTER_PATTERN, Quarter, quarter_of, resolve


class Asked(BaseModel):
    """Arguments of `attribute_channels`."""

    period: str | None = Field(
        default=None,
        pattern=QUARTER_PATTERN,
        description="Quarter, e.g. 2025-Q4 or Q4; by default the latest one of the data.",
    )


class Attributed(BaseModel):
    """Result of `attribute_channels`."""

    period: str
    channels: list[ChannelCredit]
    summary: str
    recommendations: list[str]
    assumptions: list[str]


class AttributeChannels(ComputingTool[Asked]):
    """Markov removal effects over the customer journeys of a quarter."""

    name: str = "attribute_channels"
    description: str = (
        "Attribute the conversions of a quarter to channels by their removal effect in the "
        "customers' journeys, beside last-touch, with the return on each channel's spend."
    )
    args_schema: type[BaseModel] = Asked

    @override
    def compute(self, asked: Asked) -> Attributed:
        journeys = rows(PACKAGE, "journeys.csv")
        quarter, _ = resolve(asked.period, (_quarter(row["quarter"]) for row in journeys))
        taken = [row for row in journeys if _quarter(row["quarter"]) == quarter]
        paths = [
            Path(tuple(row["path"].split(" > ")), int(row["journeys"]), int(row["conversions"]))
            for row in taken
        ]
        revenue = sum((Decimal(row["revenue_usd"]) for row in taken), Decimal(0))
        found = _credits(quarter, paths, revenue)
        under = max(found, key=lambda row: row.attributed_conversions / row.last_touch_conversions)
        return Attributed(
            period=str(quarter),
            channels=found,
            summary=(
                f"By removal effect {found[0].channel} carries the largest part of the revenue of "
                "tracked journeys, "
                f"USD {found[0].attributed_revenue:,.2f} of {revenue:,.2f}."
            ),
            recommendations=_advice(found, under),
            assumptions=[
                "Credit by removal effect assumes that the next channel depends on the last only.",
                "Journeys are those that were tracked; their revenue is not the clients' total.",
            ],
        )


def _quarter(text: str) -> Quarter:
    return Quarter(int(text[:4]), int(text[-1]))


def _credits(quarter: Quarter, paths: Sequence[Path], revenue: Decimal) -> list[ChannelCredit]:
    by_last, by_removal = last_touch(paths), removal_effect(paths)
    money = dict(zip(by_removal, split(revenue, list(by_removal.values())), strict=True))
    spend = _spend(quarter)
    found = [
        ChannelCredit(
            channel=name,
            spend=spend[name],
            last_touch_conversions=by_last[name],
            attributed_conversions=round(credit, 1),
            attributed_revenue=money[name],
            attributed_roas=round(float(money[name] / spend[name]), 2),
        )
        for name, credit in by_removal.items()
    ]
    return sorted(found, key=lambda row: -row.attributed_revenue)


def _spend(quarter: Quarter) -> dict[str, Decimal]:
    spend: dict[str, Decimal] = {}
    for row in rows(PACKAGE, "performance.csv"):
        if quarter_of(date.fromisoformat(f"{row['month']}-01")) == quarter:
            spend[row["channel"]] = spend.get(row["channel"], Decimal(0)) + Decimal(
                row["spend_usd"]
            )
    return spend


def _advice(found: Sequence[ChannelCredit], under: ChannelCredit) -> list[str]:
    best = max(found, key=lambda row: row.attributed_roas)
    worst = min(found, key=lambda row: row.attributed_roas)
    return [
        (
            f"Shift budget from {worst.channel} (attributed ROAS {worst.attributed_roas:.2f}) to "
            f"{best.channel} ({best.attributed_roas:.2f}) in small steps and watch the change."
        ),
        (
            f"Do not judge {under.channel} by its last touches: it is worth "
            f"{under.attributed_conversions:,.0f} conversions, last touch shows "
            f"{under.last_touch_conversions:,.0f}."
        ),
    ]
