"""Recurring schedules as the client sends their definitions, and as they stand."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime

from crewstream.contracts.codec import Codec
from crewstream.contracts.events import (
    Missed,
    ScheduleDefined,
    ScheduleState,
    WorkflowRequested,
)
from crewstream.contracts.topics import Topics
from crewstream.domain import schedule
from crewstream.domain.plan import Rules
from crewstream.errors import InvalidSchedule
from crewstream.records import Inbound


@dataclass(frozen=True, slots=True)
class Times:
    """When a schedule is due, and what becomes of times that were missed."""

    cron: str
    timezone: str = "UTC"
    missed: str = Missed.LATEST


def defined(
    request: WorkflowRequested,
    topics: Topics,
    *,
    schedule_id: str,
    times: Times,
    defined_by: str,
) -> ScheduleDefined:
    """The definition of a schedule whose workflows are those of `request`, but for id and time.

    Raises InvalidSchedule with every fault that can be known here: crews are not.
    """
    now = datetime.now(UTC)
    event = ScheduleDefined(
        schedule_id=schedule_id,
        project_id=request.project_id,
        cron=times.cron,
        timezone=times.timezone,
        missed=Missed(times.missed),
        request=request.model_dump_json(exclude=set(schedule.OURS), exclude_defaults=True),
        defined_at=now,
        defined_by=defined_by,
    )
    if wrong := schedule.faults(event, Rules(dict.fromkeys(topics.projects)), now):
        raise InvalidSchedule(schedule_id, wrong)
    return event


def removed(schedule_id: str, defined_by: str) -> ScheduleDefined:
    """The end of a schedule, whatever it was."""
    return ScheduleDefined(
        schedule_id=schedule_id,
        project_id="",
        cron="",
        request="{}",
        removed=True,
        defined_at=datetime.now(UTC),
        defined_by=defined_by,
    )


async def standing(codec: Codec, records: AsyncGenerator[Inbound, None]) -> Sequence[ScheduleState]:
    """The schedules of a table's changelog, by id."""
    rows: dict[bytes | None, ScheduleState] = {}
    async with aclosing(records):
        async for record in records:
            if record.value is None:
                rows.pop(record.key, None)
            else:
                rows[record.key] = codec.decode(record.value, ScheduleState)
    return sorted(rows.values(), key=lambda row: row.schedule_id)
