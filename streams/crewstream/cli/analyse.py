"""query, sql: questions to ClickHouse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from crewstream.cli import shell
from crewstream.cli.shell import AsJson

if TYPE_CHECKING:
    from collections.abc import Mapping

    from crewstream.adapters.clickhouse import Result
    from crewstream.config import Settings

app = typer.Typer()
PANEL = "Figures"


@app.command(rich_help_panel=PANEL)
def query(
    name: Annotated[str | None, typer.Argument(help="A ready-made query; see --list.")] = None,
    *,
    param: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="A parameter of it; repeatable.")
    ] = None,
    list_all: Annotated[bool, typer.Option("--list", help="Show which there are.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run a ready-made query on all that was measured."""
    if list_all:
        _list(as_json=as_json)
        return
    if name is None:
        raise typer.BadParameter("name a query, or use --list")
    answer = shell.run(_query(shell.begin(), name, _parameters(param or [])))
    _show(answer, as_json=as_json)


@app.command(rich_help_panel=PANEL)
def sql(
    statement: Annotated[str, typer.Argument(help="One SELECT, in ClickHouse's SQL.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Ask ClickHouse in SQL; the tables are in docs/analytics.md."""
    _show(shell.run(_sql(shell.begin(), statement)), as_json=as_json)


def _list(*, as_json: bool) -> None:
    from crewstream.analytics.library import queries  # noqa: PLC0415

    rows = [
        {
            "query": each.name,
            "about": each.about,
            "parameters": ", ".join(f"{p.name}={p.default}" for p in each.parameters),
        }
        for each in queries().values()
    ]
    shell.write_rows(rows, ("query", "about", "parameters"), as_json=as_json)


def _parameters(given: list[str]) -> Mapping[str, str]:
    pairs = [each.partition("=") for each in given]
    for name, sign, _ in pairs:
        if not sign:
            raise typer.BadParameter(f"--param is NAME=VALUE, not {name!r}")
    return {name: value for name, _, value in pairs}


async def _query(settings: Settings, name: str, given: Mapping[str, str]) -> Result:
    from crewstream.adapters.clickhouse import connect  # noqa: PLC0415
    from crewstream.analytics import library  # noqa: PLC0415

    library.find(name).bound(given)  # wrong names are told without a database
    async with connect(settings.clickhouse_dsn.get_secret_value()) as analytics:
        return await library.run(name, given, analytics)


async def _sql(settings: Settings, statement: str) -> Result:
    from crewstream.adapters.clickhouse import connect  # noqa: PLC0415

    async with connect(settings.clickhouse_dsn.get_secret_value()) as analytics:
        return await analytics.query(statement)


def _show(answer: Result, *, as_json: bool) -> None:
    rows: list[dict[str, Any]] = [
        dict(zip(answer.columns, row, strict=True)) for row in answer.rows
    ]
    shell.write_rows(rows, answer.columns, as_json=as_json)
