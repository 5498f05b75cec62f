"""Lays a campaign out over its days in phases, and each channel's budget over the phases."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from pydantic import BaseModel, Field
from typing_extensions import override

from crewstream_agents.projects.bizoholic.outputs import ChannelBudget, Phase
from crewstream_agents.projects.bizoholic.tools.market import DEFAULT_DURATION_DAYS
from crewstream_agents.tools.base import ComputingTool
from crewstream_agents.tools.money import split


@dataclass(frozen=True, slots=True)
class _Shape:
    name: str
    time: float
    spend: float
    focus: str


# Spend lags time at first: learn on little money, then put it where the numbers are.
_SHAPES = (
    _Shape("Foundation", 0.15, 0.05, "tracking, audiences, creative; no channel at full spend"),
    _Shape("Launch", 0.25, 0.25, "all channels live; A/B tests reach their sample sizes"),
    _Shape("Scale", 0.40, 0.50, "money follows the marginal return of each channel"),
    _Shape("Optimise", 0.20, 0.20, "retargeting, closing, and the hand-over of what was learnt"),
)


class Asked(BaseModel):
    """Arguments of `plan_timeline`."""

    allocation: list[ChannelBudget] = Field(
        min_length=1, description="Channels and their amounts in USD, as allocated."
    )
    campaign_duration: int = Field(
        default=DEFAULT_DURATION_DAYS, ge=1, le=730, description="Length of the campaign in days."
    )


class Planned(BaseModel):
    """Result of `plan_timeline`."""

    timeline: list[Phase]


class PlanTimeline(ComputingTool[Asked]):
    """Days and money by phase, each by the largest remainder method: nothing is lost."""

    name: str = "plan_timeline"
    description: str = (
        "Plan the phases of a campaign over its days, with the budget of each channel in each "
        "phase. Needs the allocation of the budget."
    )
    args_schema: type[BaseModel] = Asked

    @override
    def compute(self, asked: Asked) -> Planned:
        days = split(
            Decimal(asked.campaign_duration), [shape.time for shape in _SHAPES], Decimal(1)
        )
        # A campaign of a few days has no room for every phase.
        shapes = [
            (shape, int(length)) for shape, length in zip(_SHAPES, days, strict=True) if length
        ]
        weights = [shape.spend for shape, _ in shapes]
        parts = {line.channel: split(line.amount, weights) for line in asked.allocation}
        phases, first = [], 1
        for index, (shape, length) in enumerate(shapes):
            channels = [
                ChannelBudget(channel=name, amount=amounts[index])
                for name, amounts in parts.items()
            ]
            phases.append(
                Phase(
                    phase=shape.name,
                    first_day=first,
                    last_day=first + length - 1,
                    focus=shape.focus,
                    budget=sum((part.amount for part in channels), Decimal(0)),
                    channels=channels,
                )
            )
            first += length
        return Planned(timeline=phases)
