"""Which social platforms a campaign uses, from `platforms.csv`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field

from crewstream_agents.projects.bizoholic.tools import market
from crewstream_agents.tools.base import ToolInputError
from crewstream_agents.tools.dataset import rows


class PlatformBrief(market.Brief):
    """A brief that may name the platforms."""

    platforms: list[str] | None = Field(
        default=None,
        description="Social platforms to use, e.g. linkedin; by default the audience's.",
    )


@dataclass(frozen=True, slots=True)
class Platform:
    """A platform as `platforms.csv` describes it."""

    name: str
    character_limit: int
    hashtags: int
    posts_per_week: int
    impressions_per_day: int
    click_rate: float
    local_hour: int
    format: str


def choose(audience: str, asked: Sequence[str] | None) -> list[Platform]:
    """Return the platforms asked for, or those of the audience; ToolInputError on unknown ones."""
    known = {row["platform"]: row for row in rows(market.PACKAGE, "platforms.csv")}
    names = [name.strip().lower() for name in asked or ()]
    if unknown := sorted(set(names) - set(known)):
        raise ToolInputError(
            f"platforms: {', '.join(unknown)} is not known. Choose from {', '.join(sorted(known))}."
        )
    names = names or [name for name, row in known.items() if row["audience"] == audience]
    return [
        Platform(
            name=name,
            character_limit=int(known[name]["character_limit"]),
            hashtags=int(known[name]["hashtags"]),
            posts_per_week=int(known[name]["posts_per_week"]),
            impressions_per_day=int(known[name]["impressions_per_day"]),
            click_rate=float(known[name]["click_through_rate"]),
            local_hour=int(known[name]["local_hour"]),
            format=known[name]["format"],
        )
        for name in dict.fromkeys(names)
    ]
