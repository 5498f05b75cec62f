"""The funnel's counts by quarter, device and segment, from `funnel.csv`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from pydantic import BaseModel, Field

from crewstream_agents.tools.dataset import rows
from crewstream_agents.tools.periods import QUARTER_PATTERN, Quarter, quarter_of

PACKAGE = "crewstream_agents.projects.coreldove"
STEPS = ("sessions", "product_views", "carts", "checkouts", "payments", "orders")
SIGNIFICANCE = 0.05


class Asked(BaseModel):
    """Arguments of every tool that looks at a quarter."""

    period: str | None = Field(
        default=None,
        pattern=QUARTER_PATTERN,
        description="Quarter, e.g. 2025-Q4 or Q4; by default the latest one of the data.",
    )


@dataclass(frozen=True, slots=True)
class Cell:
    """The counts of one or more months, devices and segments; `counts` are in order of STEPS."""

    quarter: Quarter
    device: str
    segment: str
    counts: tuple[int, ...]
    revenue: Decimal

    @property
    def conversion(self) -> float:
        """Orders of sessions."""
        return self.counts[-1] / self.counts[0]

    def rate(self, step: int) -> float:
        """Return the share that reached a step (1 to 5) of those at the step before."""
        return self.counts[step] / self.counts[step - 1]


def cells() -> list[Cell]:
    """Return the data, a cell for each row."""
    return [
        Cell(
            quarter_of(date.fromisoformat(f"{row['month']}-01")),
            row["device"],
            row["segment"],
            tuple(int(row[step]) for step in STEPS),
            Decimal(row["revenue_usd"]),
        )
        for row in rows(PACKAGE, "funnel.csv")
    ]


def total(parts: Sequence[Cell]) -> Cell:
    """Return the sum of cells, at least one, named after the first."""
    counts = tuple(map(sum, zip(*(part.counts for part in parts), strict=True)))
    revenue = sum((part.revenue for part in parts), Decimal(0))
    first = parts[0]
    return Cell(first.quarter, first.device, first.segment, counts, revenue)


def grouped(parts: Iterable[Cell], key: Callable[[Cell], str]) -> dict[str, Cell]:
    """Return the sums of cells by a key, in the key's order."""
    groups: dict[str, list[Cell]] = {}
    for part in parts:
        groups.setdefault(key(part), []).append(part)
    return {name: total(group) for name, group in sorted(groups.items())}
