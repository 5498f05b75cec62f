"""analytics: the tables in ClickHouse, and how they stand to this release."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from crewstream.cli import shell
from crewstream.cli.shell import AsJson
from crewstream.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crewstream.analytics.migrations import Place, Standing
    from crewstream.config import Settings

app = typer.Typer(help="Look after the tables in ClickHouse.", no_args_is_help=True)
BEHIND = 2

Cluster = Annotated[
    str | None, typer.Option(help="Name of the cluster that the tables are replicated on.")
]


@app.command()
def status(*, as_json: AsJson = False) -> None:
    """Show what is applied, pending or changed; exit code 2 unless all of it is applied."""
    found = shell.run(_status(shell.begin()))
    rows = [asdict(each) for each in found]
    short = [{**row, "file": row["file"][:12], "ledger": row["ledger"][:12]} for row in rows]
    columns = ("name", "state", "file", "ledger")
    shell.write_rows(rows if as_json else short, columns, as_json=as_json)
    if any(each.state != "applied" for each in found):
        raise typer.Exit(BEHIND)


@app.command()
def migrate(
    *,
    cluster: Cluster = None,
    reader: Annotated[
        str | None, typer.Option(help="Make this read-only user as well; a server only.")
    ] = None,
    password: Annotated[
        str, typer.Option(envvar="CLICKHOUSE_READER_PASSWORD", help="Its password.")
    ] = "",
) -> None:
    """Bring the tables up to date, as the recorder does when it starts."""
    applied = shell.run(_migrate(shell.begin(), cluster, reader, password))
    for name in applied:
        print(f"applied {name}")
    if not applied:
        print("up to date")


async def _status(settings: Settings) -> Sequence[Standing]:
    from crewstream.adapters.clickhouse import connect  # noqa: PLC0415
    from crewstream.analytics import migrations  # noqa: PLC0415

    async with connect(settings.clickhouse_dsn.get_secret_value()) as analytics:
        ledger = await migrations.ledger(analytics, migrations.Place(analytics.database))
    return migrations.standings(migrations.migrations(), ledger)


async def _migrate(
    settings: Settings, cluster: str | None, user: str | None, password: str
) -> Sequence[str]:
    from crewstream.adapters.clickhouse import Dsn, connect  # noqa: PLC0415
    from crewstream.analytics import migrations  # noqa: PLC0415

    dsn = settings.clickhouse_dsn.get_secret_value()
    place = migrations.Place(Dsn.parse(dsn).database, cluster)
    users = _user(place, user, password, embedded=Dsn.parse(dsn).path is not None)
    async with connect(dsn) as analytics:
        applied = await migrations.migrate(analytics, place)
        for statement in users:
            await analytics.command(statement)
    return [*applied, *([f"user {user}"] if users else [])]


def _user(place: Place, user: str | None, password: str, *, embedded: bool) -> Sequence[str]:
    from crewstream.analytics import reader  # noqa: PLC0415

    if user is None:
        return []
    if embedded:
        raise Misconfigured(
            "the embedded engine has no users of its own: `reader` is served always"
        )
    return reader.statements(place, user, password)
