"""advise: what the record says could be better, and what to do about it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crewstream.cli import shell
from crewstream.cli.shell import AsJson

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from crewstream.analytics.advice import Finding
    from crewstream.config import Settings

app = typer.Typer()
SEVERITIES = ("critical", "warning", "info")


@app.command(rich_help_panel="Figures")
def advise(
    *,
    now: Annotated[
        bool, typer.Option("--now", help="Ask the rules now, instead of what the recorder kept.")
    ] = False,
    project: Annotated[str, typer.Option(help="One project; all without.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show what is wrong or could be better, since when, what to do, and where to look."""
    found = shell.run(_advice(shell.begin(), now=now))
    shown = [each for each in found if project in ("", each["project_id"])]
    shown.sort(key=lambda each: SEVERITIES.index(str(each["severity"])))
    if as_json:
        shell.write_json(shown)
        return
    for each in shown:
        print(f"{each['severity']:<9}{_where(each)}{each['about']}")
        print(f"{'':<9}{each['action']}")
        print(f"{'':<9}rule {each['rule']}, see `crewstream query {each['query']}`{_since(each)}")
    if not shown:
        print("nothing to advise")


def _where(advice: Mapping[str, Any]) -> str:
    place = "/".join(filter(None, (advice["tenant_id"], advice["project_id"])))
    return f"{place}: " if place else ""


def _since(advice: Mapping[str, Any]) -> str:
    opened = advice.get("opened_at")
    return f", since {opened:%Y-%m-%d %H:%M} UTC" if opened else ""


async def _advice(settings: Settings, *, now: bool) -> Sequence[Mapping[str, Any]]:
    from crewstream.adapters.clickhouse import connect  # noqa: PLC0415
    from crewstream.analytics import advice, rules  # noqa: PLC0415

    async with connect(settings.clickhouse_dsn.get_secret_value()) as analytics:
        if now:
            found = (await rules.findings(analytics)).findings
            return [_told(each) for each in found]
        kept = await rules.open_advice(analytics)
    return [dict(zip(advice.COLUMNS, each.row, strict=True)) for each in kept]


def _told(finding: Finding) -> Mapping[str, Any]:
    return {"advice_id": finding.advice_id, **asdict(finding)}
