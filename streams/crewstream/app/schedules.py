"""The schedules in projects' folders, against those that stand: what differs, and making it so.

The id of such a schedule is `{project}.{file}`. Ids that begin so belong to the folder: what has no
file there any more is removed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from crewstream.client import Client
from crewstream.client.schedules import Times, defined
from crewstream.contracts.events import ScheduleDefined, ScheduleState
from crewstream.contracts.topics import Topics
from crewstream.domain.schedule import is_same
from crewstream.errors import Invalid, Misconfigured
from crewstream.requests import read_request

if TYPE_CHECKING:
    from crewstream_agents.registry import Schedule

DEFINED_BY = "crewstream schedule apply"


@dataclass(frozen=True, slots=True)
class Change:
    """One thing to do: to `add` or `change` a schedule to a definition, or to `remove` it."""

    what: str
    schedule_id: str
    event: ScheduleDefined | None = None


def in_folders(
    topics: Topics, tenant: str, of: Collection[str], added: Path | None = None
) -> Mapping[str, ScheduleDefined]:
    """The enabled schedules of the projects `of` that are installed or `added` here, by id.

    Raises Misconfigured for a file that cannot be used.
    """
    from crewstream_agents import registry  # noqa: PLC0415  (the command line starts without it)

    try:
        enabled = {
            f"{name}.{each.name}": (name, each)
            for name, project in registry.projects(added).items()
            if name in of
            for each in registry.schedules(project)
            if each.enabled
        }
    except registry.InvalidProject as error:
        raise Misconfigured(str(error)) from error
    return {key: _defined(key, *at, topics, tenant) for key, at in enabled.items()}


def changes(
    wanted: Mapping[str, ScheduleDefined], standing: Sequence[ScheduleState], of: Collection[str]
) -> Iterator[Change]:
    """What has to be done so that the schedules of the folders of `of` are those wanted."""
    there = {each.schedule_id: each for each in standing}
    for schedule_id, event in wanted.items():
        if schedule_id not in there:
            yield Change("add", schedule_id, event)
        elif not is_same(there[schedule_id], event):
            yield Change("change", schedule_id, event)
    for schedule_id in there:
        if schedule_id not in wanted and owner(schedule_id, of):
            yield Change("remove", schedule_id)


def owner(schedule_id: str, projects: Collection[str]) -> str:
    """The project to whose folder an id belongs; empty: to none of these."""
    return next((each for each in projects if schedule_id.startswith(f"{each}.")), "")


def definition(
    schedule_id: str,
    document: Mapping[str, object],
    times: Times,
    topics: Topics,
    *,
    tenant: str,
    by: str,
) -> ScheduleDefined:
    """A schedule from a request as people write it. Raises InvalidRequest, InvalidSchedule."""
    request = read_request(document, tenant=tenant, now=datetime.now(UTC), unique="run")
    return defined(request, topics, schedule_id=schedule_id, times=times, defined_by=by)


async def make(client: Client, change: Change) -> None:
    """Do it. Raises TooLarge, Unreachable."""
    if change.event is not None:
        await client.define(change.event)
    else:
        await client.unschedule(change.schedule_id, defined_by=DEFINED_BY)


def _defined(
    schedule_id: str, project: str, said: Schedule, topics: Topics, tenant: str
) -> ScheduleDefined:
    times = Times(said.cron, said.timezone, said.missed)
    request = said.request
    if "projects" not in request:
        request = {"project_id": project, **request}
    try:
        return definition(schedule_id, request, times, topics, tenant=tenant, by=DEFINED_BY)
    except (Invalid, ValueError) as error:  # `missed` may be none of the three
        raise Misconfigured(f"schedule {schedule_id!r} of a project's folder: {error}") from error
