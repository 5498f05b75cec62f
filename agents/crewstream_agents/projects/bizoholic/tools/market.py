"""Reads what a client's brief says about its market, and states what it does not say."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydantic import BaseModel, Field

from crewstream_agents.tools.dataset import Row, rows

PACKAGE = "crewstream_agents.projects.bizoholic"
DEFAULT_DURATION_DAYS = 30

_ALIASES = {
    "ecommerce": "retail",
    "e-commerce": "retail",
    "health": "healthcare",
    "saas": "technology",
    "software": "technology",
    "tech": "technology",
    "travel": "hospitality",
}
_CONSUMERS = r"\b(b2c|consumers?|shoppers?|families|parents|students|patients|guests|teens)\b"
_BUSINESSES = r"\b(b2b|business(es)?|compan(y|ies)|enterprises?|teams|agencies|firms|smes?)\b"


class Brief(BaseModel):
    """What a client's brief may say; every part may be missing."""

    industry: str | None = Field(
        default=None, description="The client's industry, e.g. technology."
    )
    target_audience: str | None = Field(
        default=None, description="Whom the campaign is for, e.g. B2B software companies."
    )
    campaign_duration: int | None = Field(
        default=None, ge=1, le=730, description="Length of the campaign in days, 1 to 730."
    )


@dataclass(frozen=True, slots=True)
class Market:
    """A brief as the data sets know it. `assumptions` says what was filled in."""

    industry: str
    audience: str
    duration_days: int
    assumptions: tuple[str, ...]

    @property
    def months(self) -> float:
        """The campaign's length in months of 30 days."""
        return self.duration_days / 30


def read(brief: Brief) -> Market:
    """Return the market of a brief, with what was assumed."""
    industry, about_industry = _industry(brief.industry)
    audience, about_audience = _audience(brief.target_audience)
    about_duration = (
        ()
        if brief.campaign_duration
        else (f"No campaign duration was given: {DEFAULT_DURATION_DAYS} days.",)
    )
    return Market(
        industry,
        audience,
        brief.campaign_duration or DEFAULT_DURATION_DAYS,
        (*about_industry, *about_audience, *about_duration),
    )


def channels(market: Market) -> list[Row]:
    """Return the rows of `channels.csv` for a market."""
    wanted = (market.industry, market.audience)
    return [
        row for row in rows(PACKAGE, "channels.csv") if (row["industry"], row["audience"]) == wanted
    ]


def _industry(asked: str | None) -> tuple[str, tuple[str, ...]]:
    if not asked:
        return "general", ("No industry was given: the averages of all industries are used.",)
    words = re.findall(r"[a-z][a-z-]+", asked.lower())
    known = {row["industry"] for row in rows(PACKAGE, "channels.csv")}
    for word in words:
        if _ALIASES.get(word, word) in known:
            return _ALIASES.get(word, word), ()
    return "general", (
        f"There are no benchmarks for the industry {asked!r}: the averages of all are used.",
    )


def _audience(asked: str | None) -> tuple[str, tuple[str, ...]]:
    if asked and re.search(_CONSUMERS, asked, re.IGNORECASE):
        return "b2c", ()
    if asked and re.search(_BUSINESSES, asked, re.IGNORECASE):
        return "b2b", ()
    if not asked:
        return "b2b", ("No target audience was given: businesses (B2B) are assumed.",)
    return "b2b", (
        f"The target audience {asked!r} may be businesses or consumers: businesses are assumed.",
    )
