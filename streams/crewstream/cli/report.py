"""report: one page with figures and charts, for people who do not ask in SQL."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crewstream.cli import shell
from crewstream.cli.dlq import moment
from crewstream.errors import Invalid

if TYPE_CHECKING:
    from crewstream.config import Settings
    from crewstream.report.figures import Span

app = typer.Typer()

Since = Annotated[str, typer.Option(help="From this time on: ISO 8601, or an age such as 7d.")]
Until = Annotated[str, typer.Option(help="Up to this time; else now.")]
Out = Annotated[Path, typer.Option("--out", "-o", dir_okay=False, help="The file to write.")]
Objective = Annotated[
    float, typer.Option(min=0, max=0.99999, help="Share of workflows that should succeed.")
]


@app.command(rich_help_panel="Figures")
def report(
    *,
    since: Since = "7d",
    until: Until = "",
    out: Out = Path("report.html"),
    objective: Objective = 0.99,
) -> None:
    """Write a report as one HTML file: overview, trends, cost, agents, errors, service level.

    The file needs no network and no other file.
    """
    from crewstream.report import charts  # noqa: PLC0415
    from crewstream.report.figures import Span  # noqa: PLC0415

    charts.require()
    now = datetime.now(UTC)
    begins, ends = moment(since, "--since") or now, moment(until, "--until") or now
    if begins >= ends:
        raise Invalid(f"a report from {begins:%c} to {ends:%c} is about no time at all")
    html = shell.run(_page(shell.begin(), Span(begins, ends), objective))
    out.write_text(html, "utf-8")
    print(f"{out}: {len(html.encode()) / 1024:.0f} KiB")


async def _page(settings: Settings, span: Span, objective: float) -> str:
    from crewstream.adapters.clickhouse import Dsn, connect  # noqa: PLC0415
    from crewstream.report.figures import collect  # noqa: PLC0415
    from crewstream.report.page import page  # noqa: PLC0415

    dsn = settings.clickhouse_dsn.get_secret_value()
    async with connect(dsn) as analytics:
        figures = await collect(analytics, span, objective)
    return page(figures, datetime.now(UTC), f"ClickHouse at {Dsn.parse(dsn).place}")
