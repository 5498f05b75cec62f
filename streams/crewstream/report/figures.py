"""The figures of a report: what is asked of ClickHouse, for which span of time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import resources
from typing import Any

from crewstream.adapters.clickhouse import Analytics, Result
from crewstream.analytics import library

QUERIES = (
    *("overview", "trend", "spending", "models", "tenants"),
    *("agents", "errors", "service", "slowest"),
)
ADVICE, OBJECTIVES = "recommendations", "slo"
"""Ready-made queries of the library; a report is without them where the library is."""

HOUR_S, DAY_S = 3600, 86_400
BY_HOUR_UP_TO = timedelta(days=3)


@dataclass(frozen=True, slots=True)
class Span:
    """From `since` up to `until`, in UTC."""

    since: datetime
    until: datetime

    @property
    def step_s(self) -> int:
        """The width of a column in the charts: an hour, or a day."""
        return HOUR_S if self.until - self.since <= BY_HOUR_UP_TO else DAY_S


@dataclass(frozen=True, slots=True)
class Figures:
    """Answers by the name of their query."""

    span: Span
    objective: float
    answers: Mapping[str, Result]

    def rows(self, name: str) -> list[dict[str, Any]]:
        """An answer's rows by the names of their columns; none when it was not asked."""
        found = self.answers.get(name)
        if found is None:
            return []
        return [dict(zip(found.columns, row, strict=True)) for row in found.rows]


async def collect(analytics: Analytics, span: Span, objective: float) -> Figures:
    """Ask all of it. `objective`: the share of workflows that should succeed, below 1.

    Raises Refused when the tables are not ours, Unreachable when ClickHouse does not answer.
    """
    given = {
        "since": int(span.since.timestamp()),
        "until": int(span.until.timestamp()),
        "step": span.step_s,
        "objective": objective,
    }
    folder = resources.files(__package__) / "queries"
    answers = {
        name: await analytics.query((folder / f"{name}.sql").read_text("utf-8"), given)
        for name in QUERIES
    }
    for name in {ADVICE, OBJECTIVES} & library.queries().keys():
        answers[name] = await library.run(name, {}, analytics)
    return Figures(span, objective, answers)
