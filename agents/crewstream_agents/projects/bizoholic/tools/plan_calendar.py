"""Spreads a campaign's posts over platforms and content pillars."""

from __future__ import annotations

from decimal import Decimal

from pydantic import BaseModel
from typing_extensions import override

from crewstream_agents.projects.bizoholic.outputs import CalendarEntry
from crewstream_agents.projects.bizoholic.tools import market
from crewstream_agents.projects.bizoholic.tools.platforms import Platform, PlatformBrief, choose
from crewstream_agents.tools.base import ComputingTool
from crewstream_agents.tools.money import split

PILLARS = {"teach": 0.4, "prove": 0.3, "talk": 0.2, "offer": 0.1}


class Calendar(BaseModel):
    """Result of `plan_calendar`."""

    calendar: list[CalendarEntry]
    summary: str


class PlanCalendar(ComputingTool[PlatformBrief]):
    """Posts a week by platform over the campaign, apportioned to the content pillars."""

    name: str = "plan_calendar"
    description: str = (
        "Plan how many posts each platform gets over the campaign, at which hour, and how they "
        "divide into content pillars."
    )
    args_schema: type[BaseModel] = PlatformBrief

    @override
    def compute(self, asked: PlatformBrief) -> Calendar:
        place = market.read(asked)
        entries = [
            _entry(platform, place.duration_days)
            for platform in choose(place.audience, asked.platforms)
        ]
        posts = sum(entry.posts for entry in entries)
        return Calendar(
            calendar=entries,
            summary=f"The calendar holds {posts} posts in {place.duration_days} days.",
        )


def _entry(platform: Platform, days: int) -> CalendarEntry:
    posts = max(1, round(platform.posts_per_week * days / 7))
    parts = split(Decimal(posts), list(PILLARS.values()), Decimal(1))
    return CalendarEntry(
        platform=platform.name,
        posts=posts,
        posts_per_week=platform.posts_per_week,
        local_hour=platform.local_hour,
        pillars={name: int(part) for name, part in zip(PILLARS, parts, strict=True)},
    )
