"""Figures beside their goals: as a table on a terminal, as Markdown, as JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

COLUMNS = ("part", "what", "figure", "unit", "goal", "reached", "ratio")


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure should come to: at least `value`, or at most."""

    value: float
    at_least: bool


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a run, with its unit; without a goal it is there to compare others with."""

    part: str
    what: str
    value: float
    unit: str
    goal: Goal | None = None

    @property
    def ratio(self) -> float | None:
        """How far it is: 1 is the goal, more is better than the goal."""
        if self.goal is None or not (self.value and self.goal.value):
            return None
        ratio = self.value / self.goal.value
        return ratio if self.goal.at_least else 1 / ratio

    @property
    def reached(self) -> bool | None:
        """Whether it meets its goal; None: it has none."""
        return None if self.ratio is None else self.ratio >= 1


def at_least(value: float) -> Goal:
    """More is better."""
    return Goal(value, at_least=True)


def at_most(value: float) -> Goal:
    """Less is better."""
    return Goal(value, at_least=False)


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def median(values: Iterable[float]) -> float:
    """The middle one: a neighbour on the machine spoils one round, not the figure."""
    return float(statistics.median(values))


def machine() -> dict[str, Any]:
    """What the figures were taken on; the load is that of the minute before."""
    built_with = str(sysconfig.get_config_var("CONFIG_ARGS"))
    return {
        "taken_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "architecture": platform.machine(),
        "load_1_min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        # One compiled without profile-guided optimisation is slower at everything Python.
        "python_optimised": "--enable-optimizations" in built_with,
    }


def show(figures: Iterable[Figure]) -> None:
    """Print the table."""
    table = Table(*COLUMNS[:2])
    for column in COLUMNS[2:]:
        table.add_column(column, justify="right")
    last = ""
    for figure in figures:
        if last and figure.part != last:
            table.add_section()
        part, *cells = _cells(figure)
        table.add_row(part if figure.part != last else "", *cells)
        last = figure.part
    Console(width=None if Console().is_terminal else 140).print(table)


def markdown(figures: Iterable[Figure], conditions: Mapping[str, Any]) -> str:
    """The table as a page."""
    told = ", ".join(f"{name} {value}" for name, value in conditions.items())
    lines = [
        "# Figures of the last run",
        f"`make bench`; {told}. What each one means: [README.md](README.md).",
        "A ratio of 1 is the goal, more is better than the goal.",
    ]
    rows = ["| " + " | ".join(_cells(figure)) + " |" for figure in figures]
    head = ["| " + " | ".join(COLUMNS) + " |", "|---|---|--:|---|--:|---|--:|"]
    return "\n\n".join([*lines, "\n".join([*head, *rows])]) + "\n"


def as_json(figures: Iterable[Figure], conditions: Mapping[str, Any]) -> str:
    """The figures for programs, such as one that compares two runs."""
    rows = [
        {**asdict(figure), "reached": figure.reached, "ratio": figure.ratio} for figure in figures
    ]
    return json.dumps({"machine": conditions, "figures": rows}, indent=2) + "\n"


def _cells(figure: Figure) -> Sequence[str]:
    goal, reached, ratio = "", "", ""
    if figure.goal is not None:
        goal = f"{'≥' if figure.goal.at_least else '≤'} {_number(figure.goal.value)}"
        reached = "yes" if figure.reached else "no"
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    return figure.part, figure.what, _number(figure.value), figure.unit, goal, reached, ratio


def _number(value: float) -> str:
    digits = 0 if value >= 100 else 1 if value >= 10 else 2  # noqa: PLR2004 - three figures
    return f"{value:,.{digits}f}"
