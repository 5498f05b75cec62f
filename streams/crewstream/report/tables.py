"""The tables of a report: their columns, and how they are written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crewstream.report.show import Show, number, seconds, share, shown, text, usd

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; figures stand to the right."""

    title: str
    name: str
    show: Show = text

    @property
    def kind(self) -> str:
        return "" if self.show is text else ' class="n"'


AGENTS = (
    Column("Project", "project"),
    Column("Agent", "agent"),
    Column("Tasks", "tasks", number),
    Column("Succeeded", "succeeded", share),
    Column("First try", "first_try", share),
    Column("95th percentile", "p95_s", seconds),
    Column("Cost a task", "usd_per_task", usd),
)
MODELS = (
    Column("Provider", "provider"),
    Column("Model", "model"),
    Column("Calls", "calls", number),
    Column("Not paid again", "not_paid_again", number),
    Column("Failed", "failed", share),
    Column("95th percentile", "p95_s", seconds),
    Column("Tokens in", "tokens_in", number),
    Column("Tokens out", "tokens_out", number),
    Column("Cost", "usd", usd),
)
TENANTS = (
    Column("Tenant", "tenant"),
    Column("Project", "project"),
    Column("Workflows", "workflows", number),
    Column("Succeeded", "succeeded", share),
    Column("Cost", "usd", usd),
    Column("Cost a workflow", "usd_per_workflow", usd),
)
ERRORS = (
    Column("Error", "error_type"),
    Column("Where", "operation"),
    Column("Project", "project"),
    Column("Times", "times", number),
    Column("Workflows", "workflows", number),
    Column("Last", "last"),
)
OBJECTIVES = (
    Column("Objective", "name"),
    Column("Aimed at", "objective", share),
    Column("Attained", "attained", share),
    Column("Error budget left", "budget_left", share),
    Column("State", "state"),
)
SLOWEST = (
    Column("Workflow", "workflow_id"),
    Column("Project", "project"),
    Column("Kind", "type"),
    Column("Ended", "status"),
    Column("Took", "duration_s", seconds),
    Column("Tasks", "tasks", number),
    Column("Accepted", "accepted_at"),
)


def table(
    rows: Sequence[Row], columns: Sequence[Column], nothing: str = "", *, title: str = ""
) -> str:
    """Rows as a card with a table; without rows `nothing` is said, or the card left out."""
    if not rows:
        return card(f'<p class="muted">{nothing}</p>') if nothing else ""
    head = "".join(f"<th{column.kind}>{column.title}</th>" for column in columns)
    lines = (
        "".join(f"<td{one.kind}>{shown(row[one.name], one.show)}</td>" for one in columns)
        for row in rows
    )
    return card(tabled(head, lines), title)


def tabled(head: str, lines: Iterable[str]) -> str:
    """A table of a head and rows that are HTML already; a wide one scrolls by itself."""
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def card(content: str, title: str = "") -> str:
    """A card of the page."""
    return f'<div class="card">{f"<h3>{title}</h3>" if title else ""}{content}</div>'
