"""Calendar quarters: how people write them, which one is meant, and which ones to compare with."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from typing_extensions import override

from crewstream_agents.tools.base import ToolInputError

#: What a tool's `period` argument looks like, e.g. `Q4`, `2025-Q4`, `Q4 2025`.
QUARTER_PATTERN = r"\b(?:20\d{2}[ -]?)?Q[1-4](?:[ -]?20\d{2})?\b"


@dataclass(frozen=True, slots=True, order=True)
class Quarter:
    """One quarter of a calendar year; `str()` gives `2025-Q4`."""

    year: int
    number: int

    @override
    def __str__(self) -> str:
        return f"{self.year}-Q{self.number}"

    @property
    def previous(self) -> Quarter:
        """The quarter before this one."""
        return Quarter(self.year, self.number - 1) if self.number > 1 else Quarter(self.year - 1, 4)

    @property
    def a_year_before(self) -> Quarter:
        """The same quarter of the year before."""
        return Quarter(self.year - 1, self.number)


def quarter_of(day: date) -> Quarter:
    """Return the quarter that a day is in."""
    return Quarter(day.year, (day.month + 2) // 3)


def resolve(asked: str | None, available: Iterable[Quarter]) -> tuple[Quarter, str]:
    """Return the quarter that is meant and a sentence that says how it was found.

    Nothing asked means the latest one; a quarter without a year means its latest one. Raises
    ToolInputError when the text is not a quarter, or the data do not have it.
    """
    known = sorted(set(available))
    if not asked:
        return known[-1], f"No period was given; the latest quarter of the data, {known[-1]}."
    number = re.search(r"Q([1-4])", asked, re.IGNORECASE)
    year = re.search(r"20\d{2}", asked)
    if not number:
        raise ToolInputError(f"period: {asked!r} is not a quarter. Write it like 2025-Q4 or Q4.")
    fitting = [
        quarter
        for quarter in known
        if quarter.number == int(number[1]) and (year is None or quarter.year == int(year[0]))
    ]
    if not fitting:
        raise ToolInputError(
            f"period: there are no data for {asked!r}. They reach from {known[0]} to {known[-1]}."
        )
    how = "" if year else f", the latest {asked.upper()} of the data"
    return fitting[-1], f"Period analysed: {fitting[-1]}{how}."
