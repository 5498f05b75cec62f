"""The figures as one page that needs nothing else: no network, no script."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from html import escape
from importlib import resources
from math import isnan, nan
from typing import Any

from crewstream.report import charts
from crewstream.report import figures as figured
from crewstream.report.figures import Figures
from crewstream.report.show import Show, moment, number, seconds, share, shown, text, usd
from crewstream.report.tables import (
    AGENTS,
    ERRORS,
    MODELS,
    OBJECTIVES,
    SLOWEST,
    TENANTS,
    Column,
    Row,
    card,
    table,
    tabled,
)

_OTHERS = "others"


def page(figures: Figures, made_at: datetime, place: str) -> str:
    """The whole page. `place` names where the figures come from."""
    sections = [
        ("Overview", _overview(figures)),
        ("Trends", _trends(figures)),
        ("Cost", _cost(figures)),
        ("Agents", table(figures.rows("agents"), AGENTS)),
        ("Errors", table(figures.rows("errors"), ERRORS, "Nothing failed.")),
        ("Service level", _service(figures)),
        ("Recommendations", _advice(figures)),
        ("Slowest workflows", table(figures.rows("slowest"), SLOWEST)),
    ]
    present = [(title, body) for title, body in sections if body]
    span = f"{moment(figures.span.since)} to {moment(figures.span.until)} UTC"
    links = "".join(f'<a href="#{_anchor(title)}">{title}</a>' for title, _ in present)
    body = "".join(
        f'<section><h2 id="{_anchor(title)}">{title}</h2>{content}</section>'
        for title, content in present
    )
    style = (resources.files(__package__) / "page.css").read_text("utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>crewstream report, {span}</title><style>{style}</style></head><body>"
        f'<header><h1>What the crews did</h1><p class="muted">{span}</p><nav>{links}</nav></header>'
        f"<main>{body}</main><footer>Made by crewstream on {moment(made_at)} UTC from "
        f"{escape(place)}. Cost and tokens are those of paid calls; what was answered from the "
        "journal counts nothing.</footer></body></html>\n"
    )


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


@dataclass(frozen=True, slots=True)
class Tile:
    """A figure by name of its column; `good`: 1 more is better, -1 less is, 0 neither."""

    label: str
    column: str
    show: Show
    good: int = 0


TILES = (
    Tile("Workflows ended", "workflows", number),
    Tile("Succeeded", "succeeded", share, 1),
    Tile("Attempts at tasks", "tasks", number),
    Tile("Succeeded at first try", "first_try", share, 1),
    Tile("Workflow, median", "workflow_p50_s", seconds, -1),
    Tile("Task, 95th percentile", "task_p95_s", seconds, -1),
    Tile("Wait, 95th percentile", "queue_p95_s", seconds, -1),
    Tile("Cost", "usd", usd, -1),
    Tile("Cost a workflow", "usd_per_workflow", usd, -1),
    Tile("Tokens", "tokens", number),
    Tile("Calls of models", "model_calls", number),
    Tile("Calls not paid again", "calls_replayed", number),
)


def _overview(figures: Figures) -> str:
    rows = {bool(row["current"]): row for row in figures.rows("overview")}
    now, before = rows.get(True), rows.get(False, {})
    if now is None:
        return card('<p class="muted">Nothing was measured in this time.</p>')
    return f'<div class="tiles">{"".join(_tile(tile, now, before) for tile in TILES)}</div>'


def _tile(tile: Tile, now: Row, before: Row) -> str:
    value, earlier = now[tile.column], before.get(tile.column)
    return (
        f'<div class="tile"><div class="label">{tile.label}</div>'
        f'<div class="value">{shown(value, tile.show)}</div>'
        f'<div class="change">{_change(value, earlier, tile)}</div></div>'
    )


def _change(value: Any, earlier: Any, tile: Tile) -> str:
    if not earlier or value is None or isnan(earlier) or isnan(value):
        return "no earlier figure"
    change = value / earlier - 1
    if abs(change) < 0.005:  # noqa: PLR2004  (rounds to 0 %)
        return "as before"
    kind = {1: "good", -1: "bad"}.get(tile.good * (1 if change > 0 else -1), "")
    arrow, percent = "▲" if change > 0 else "▼", f"{abs(change) * 100:,.0f} %"
    return f'<span class="{kind}">{arrow} {percent}</span> from {shown(earlier, tile.show)}'


def _trends(figures: Figures) -> str:
    rows = figures.rows("trend")
    if not rows:
        return ""
    at = [row["at"] for row in rows]
    step = figures.span.step_s

    def column(name: str) -> list[float]:
        return [nan if row[name] is None else float(row[name]) for row in rows]

    tasks = {"succeeded": column("succeeded"), "failed": column("failed")}
    times = {"median": column("p50_s"), "95th percentile": column("p95_s")}
    waits = {"95th percentile": column("queue_p95_s")}
    by = "hour" if step < 86_400 else "day"  # noqa: PLR2004  (a day)
    return _grid(
        (f"Attempts at tasks by {by}", charts.bars("Attempts at tasks", at, tasks, step_s=step)),
        ("How long tasks take", charts.lines("How long tasks take", at, times, unit="s")),
        (
            "How long tasks wait for a worker, 95th percentile",
            charts.lines("Waiting", at, waits, unit="s"),
        ),
        (f"Cost by {by} and project", _spending(figures)),
    )


def _spending(figures: Figures) -> str:
    rows = figures.rows("spending")
    if not rows:
        return '<p class="muted">Nothing was paid.</p>'
    at: list[Any] = sorted({row["at"] for row in rows})
    total: dict[str, float] = {}
    for row in rows:
        name = str(row["project"])
        total[name] = total.get(name, 0.0) + row["cost_usd"]
    ranked = sorted(total, key=lambda name: -total[name])
    own = ranked if len(ranked) <= charts.SERIES else ranked[: charts.SERIES - 1]
    parts = {name: [0.0] * len(at) for name in (*own, *([_OTHERS] if own != ranked else []))}
    for row in rows:
        name = str(row["project"]) if row["project"] in own else _OTHERS
        parts[name][at.index(row["at"])] += row["cost_usd"]
    return charts.bars("Cost", at, parts, step_s=figures.span.step_s, unit="$")


def _grid(*cards: tuple[str, str]) -> str:
    return (
        '<div class="grid">'
        + "".join(f'<div class="card chart"><h3>{title}</h3>{svg}</div>' for title, svg in cards)
        + "</div>"
    )


def _cost(figures: Figures) -> str:
    models, tenants = figures.rows("models"), figures.rows("tenants")
    parts = (("By model", models, MODELS), ("By tenant and project", tenants, TENANTS))
    return "".join(table(rows, columns, title=title) for title, rows, columns in parts)


def _service(figures: Figures) -> str:
    rows, own = figures.rows("service"), figures.rows(figured.OBJECTIVES)
    if not rows:
        return ""
    head = '<th>Project</th><th class="n">Workflows</th><th class="n">Succeeded</th>'
    head += '<th class="n">Objective</th><th class="n">Error budget spent</th><th></th>'
    return card(tabled(head, (_spent(row) for row in rows))) + table(
        own, OBJECTIVES, title="Objectives of this installation, by their own windows"
    )


def _spent(row: Row) -> str:
    spent = float(row["budget_spent"])
    kind = "bad" if spent >= 1 else "warn" if spent >= 0.5 else ""  # noqa: PLR2004  (half of it)
    return (
        f"<td>{text(row['project'])}</td>"
        f'<td class="n">{number(row["workflows"])}</td>'
        f'<td class="n">{share(row["succeeded"])}</td>'
        f'<td class="n">{share(row["objective"])}</td>'
        f'<td class="n {kind}">{spent * 100:,.0f} %</td>'
        f'<td><span class="bar"><i class="{kind}" style="width:{min(spent, 1) * 100:.0f}%"></i>'
        "</span></td>"
    )


def _advice(figures: Figures) -> str:
    """What the library's query says: these of its columns, or all when it has none of them."""
    rows = figures.rows(figured.ADVICE)
    if not rows:
        return ""
    told = ("severity", "project_id", "subject", "about", "action")
    names = [name for name in told if name in rows[0]] or list(rows[0])
    titles = [name.removesuffix("_id").replace("_", " ").capitalize() for name in names]
    return table(rows, [Column(title, name) for title, name in zip(titles, names, strict=True)])
