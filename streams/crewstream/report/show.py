"""How values are shown in a report: counts, shares, durations, money, moments."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from html import escape
from math import isnan
from typing import Any

Show = Callable[[Any], str]
NOTHING = "\N{EN DASH}"


def number(value: float) -> str:
    """A count: 1,234, 12.3k, 4.5M."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if unit == 'k' else size):,.1f}{unit}"
    return f"{value:,.0f}"


def share(value: float) -> str:
    """A share of 1 in percent; never 100 % for less than all."""
    percent = min(value * 100, 99.9) if value < 1 else value * 100
    return f"{percent:.1f} %"


def seconds(value: float) -> str:
    """A duration in the unit that suits it."""
    if value < 1:
        return f"{value * 1000:,.0f} ms"
    if value < 120:  # noqa: PLR2004  (two minutes)
        return f"{value:,.1f} s"
    if value < 7200:  # noqa: PLR2004  (two hours)
        return f"{value / 60:,.1f} min"
    return f"{value / 3600:,.1f} h"


def usd(value: float) -> str:
    """US dollars, finer the less it is."""
    return f"${value:,.4f}" if 0 < value < 1 else f"${value:,.2f}"


def text(value: object) -> str:
    """Anything as it is, for HTML."""
    return escape(moment(value) if isinstance(value, datetime) else str(value))


def shown(value: Any, show: Show) -> str:
    """A value by `show`; a dash for what there is none of."""
    missing = value is None or value == "" or (isinstance(value, float) and isnan(value))
    return NOTHING if missing else show(value)


def moment(at: datetime) -> str:
    """To the minute, in UTC; what has no zone is in UTC."""
    return f"{at.astimezone(UTC) if at.tzinfo else at:%Y-%m-%d %H:%M}"
