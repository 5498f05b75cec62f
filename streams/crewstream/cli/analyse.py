"""query, sql: questions to ClickHouse."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crewstream.cli import shell
from crewstream.cli.shell import AsJson

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from crewstream.adapters.clickhouse import Result
    from crewstream.analytics.library import Parameter, Query
    from crewstream.config import Settings

app = typer.Typer()
PANEL = "Figures"
FORMATS = {"as_csv": "CSVWithNames", "parquet": "Parquet"}


AsCsv = Annotated[bool, typer.Option("--csv", help="Write CSV, as ClickHouse formats it.")]
Parquet = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write a Parquet file, made by ClickHouse.")
]


@app.command(rich_help_panel=PANEL)
def query(
    name: Annotated[str | None, typer.Argument(help="A ready-made query; see --list.")] = None,
    *,
    param: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="A parameter of it; repeatable.")
    ] = None,
    list_all: Annotated[bool, typer.Option("--list", help="Show which there are.")] = False,
    describe: Annotated[bool, typer.Option(help="Show its parameters and its SQL.")] = False,
    plot: Annotated[bool, typer.Option(help="Draw it, where it can be drawn.")] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    parquet: Parquet = None,
) -> None:
    """Run a ready-made query on all that was measured."""
    if list_all:
        _list(as_json=as_json)
        return
    if name is None:
        raise typer.BadParameter("name a query, or use --list")
    if describe:
        _describe(name, as_json=as_json)
        return
    form = _form(as_json=as_json, as_csv=as_csv, parquet=parquet, plot=plot)
    asked = _asked(name, _parameters(param or []), drawn=plot)
    _answer(asked, form, parquet)


@app.command(rich_help_panel=PANEL)
def sql(
    statement: Annotated[str, typer.Argument(help="One SELECT, in ClickHouse's SQL.")],
    *,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    parquet: Parquet = None,
) -> None:
    """Ask ClickHouse in SQL; the tables are in docs/analytics.md."""
    form = _form(as_json=as_json, as_csv=as_csv, parquet=parquet)
    _answer(_Asked(statement.rstrip().rstrip(";"), {}), form, parquet)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question; `ready` is its ready-made query, if it is one."""

    sql: str
    values: Mapping[str, str | int | float]
    ready: Query | None = None


def _asked(name: str, given: Mapping[str, str], *, drawn: bool) -> _Asked:
    """A ready-made query; what is wrong with it is told without a database."""
    from crewstream.analytics import library  # noqa: PLC0415

    found = library.find(name)
    if drawn and found.plot is None:
        raise typer.BadParameter(f"{name} has nothing to draw; leave --plot out")
    return _Asked(found.sql, found.bound(given), found)


def _form(**wanted: object) -> str:
    """The one form that was asked for; "" is a table."""
    forms = [name for name, value in wanted.items() if value]
    if len(forms) > 1:
        raise typer.BadParameter("choose one of --json, --csv, --parquet and --plot")
    return forms[0] if forms else ""


def _answer(asked: _Asked, form: str, parquet: Path | None) -> None:
    settings = shell.begin()
    if form in FORMATS:
        _write(shell.run(_raw(settings, asked, FORMATS[form])), parquet)
        return
    answer = shell.run(_rows(settings, asked))
    rows = [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]
    if form == "plot" and asked.ready and asked.ready.plot:
        from crewstream.cli import plots  # noqa: PLC0415

        print(plots.draw(asked.ready.plot, rows, asked.ready.title))
    else:
        shell.write_rows(rows, answer.columns, as_json=form == "as_json")


def _write(data: bytes, file: Path | None) -> None:
    if file is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        file.write_bytes(data)
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be written: {error.strerror}") from error
    print(f"{file}: {len(data):,} bytes", file=sys.stderr)


def _describe(name: str, *, as_json: bool) -> None:
    from crewstream.analytics import library  # noqa: PLC0415

    found = library.find(name)
    if as_json:
        shell.write_json(asdict(found))
        return
    print(f"{found.title}: {found.about}\n")
    rows = [
        (p.name, p.type, repr(p.default), " ".join([p.about, *_choices(p)]))
        for p in found.parameters
    ]
    shell.write_table(("parameter", "type", "default", "about"), rows)
    print(f"\n{found.sql}")


def _choices(parameter: Parameter) -> Sequence[str]:
    known = ", ".join(each or "''" for each in parameter.choices)
    return [f"One of: {known}."] if known else []


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


async def _rows(settings: Settings, asked: _Asked) -> Result:
    from crewstream.adapters.clickhouse import connect  # noqa: PLC0415

    async with connect(settings.clickhouse_dsn.get_secret_value()) as analytics:
        return await analytics.query(asked.sql, asked.values)


async def _raw(settings: Settings, asked: _Asked, form: str) -> bytes:
    from crewstream.adapters.clickhouse import connect  # noqa: PLC0415

    async with connect(settings.clickhouse_dsn.get_secret_value()) as analytics:
        return await analytics.raw(asked.sql, form, asked.values)
