"""schedule add, list, remove, apply: workflows that run again and again."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from crewstream.cli import shell
from crewstream.cli.shell import AsJson
from crewstream.cli.workflows import Tenant, document

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crewstream.app.schedules import Change
    from crewstream.config import Settings
    from crewstream.contracts.events import ScheduleState
    from crewstream.contracts.topics import Topics

app = typer.Typer(
    no_args_is_help=True, help="Run workflows again and again, at the times of a cron expression."
)

COLUMNS = ("schedule", "cron", "timezone", "missed", "next", "last", "last workflow")
DEFINED_BY = "crewstream schedule"

Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.")]


class Missed(StrEnum):
    """What becomes of times that passed while no coordinator ran."""

    LATEST = "latest"
    SKIP = "skip"
    ALL = "all"


@app.command()
def add(
    name: Name,
    file: Annotated[typer.FileText, typer.Argument(help="A request as JSON; - reads stdin.")],
    *,
    cron: Annotated[str, typer.Option(help='Minute, hour, day, month, weekday: "0 7 * * 1-5".')],
    timezone: Annotated[str, typer.Option(help="IANA time zone that it is read in.")] = "UTC",
    missed: Annotated[
        Missed, typer.Option(help="Of the times missed: the latest runs, none, or all.")
    ] = Missed.LATEST,
    tenant: Tenant = None,
) -> None:
    """Add a schedule, or change the one of this name.

    Each of its workflows is known as NAME@DUE, such as nightly@2026-11-24T07:00:00Z.
    """
    from crewstream.app import schedules  # noqa: PLC0415  --help must not wait for pydantic
    from crewstream.client.schedules import Times  # noqa: PLC0415

    settings = shell.begin(tenant=tenant)
    topics = _topics(settings)
    if project := schedules.owner(name, topics.projects):
        raise typer.BadParameter(
            f"names that begin with {project}. are for files in the project's folder schedules/: "
            "see `crewstream schedule apply`"
        )
    times = Times(cron, timezone, missed.value)
    event = schedules.definition(
        name, document(file), times, topics, tenant=settings.tenant, by=DEFINED_BY
    )

    async def send() -> None:
        async with shell.client(settings) as client:
            await client.define(event)

    shell.run(send())
    print(f"sent; `crewstream schedule list` shows {name} when it has been taken")


@app.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """List the schedules, when they are due, and what they asked for last."""
    found = shell.run(shell.client(shell.begin()).schedules())
    if as_json:
        shell.write_json([each.model_dump(mode="json") for each in found])
    else:
        shell.write_table(COLUMNS, map(_row, found))


@app.command()
def remove(name: Name) -> None:
    """Remove a schedule; workflows that it has asked for go on."""
    settings = shell.begin()

    async def send() -> None:
        async with shell.client(settings) as client:
            await client.unschedule(name, defined_by=DEFINED_BY)

    shell.run(send())
    print(f"removal of {name} sent")


@app.command()
def apply(
    projects: Annotated[
        list[str] | None, typer.Argument(help="Only these projects; none: all of topics.yaml.")
    ] = None,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Make the schedules those of the projects' folders.

    schedules/FILE.yaml of a project is its schedule PROJECT.FILE; one without a file is removed.
    """
    settings = shell.begin(tenant=tenant)
    topics = _topics(settings)
    if unknown := sorted(set(projects or ()) - set(topics.projects)):
        known = ", ".join(topics.projects)
        raise typer.BadParameter(f"no project {', '.join(unknown)} in topics.yaml; known: {known}")
    of = projects or list(topics.projects)
    done = shell.run(_apply(settings, topics, of, dry_run=dry_run))
    if as_json:
        shell.write_json([{"what": each.what, "schedule_id": each.schedule_id} for each in done])
    else:
        print("\n".join(f"{each.what} {each.schedule_id}" for each in done) or "nothing to do")


async def _apply(
    settings: Settings, topics: Topics, of: Sequence[str], *, dry_run: bool
) -> Sequence[Change]:
    from crewstream.app import schedules  # noqa: PLC0415

    wanted = schedules.in_folders(topics, settings.tenant, of, settings.projects)
    async with shell.client(settings) as client:
        found = list(schedules.changes(wanted, await client.schedules(), of))
        for change in () if dry_run else found:
            await schedules.make(client, change)
    return found


def _row(state: ScheduleState) -> Sequence[object]:
    dues = [
        f"{at:%Y-%m-%d %H:%M:%S}" if at else "" for at in (state.next_due_at, state.last_due_at)
    ]
    times = (state.cron, state.timezone, state.missed.value)
    return (state.schedule_id, *times, *dues, state.last_workflow_id)


def _topics(settings: Settings) -> Topics:
    from crewstream.contracts.topics import Topics  # noqa: PLC0415

    return Topics.load(settings.topics, prefix=settings.prefix, added=settings.projects)
