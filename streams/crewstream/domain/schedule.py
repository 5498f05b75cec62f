"""Recurring schedules: when each is due, and the workflows that it asks for then.

The id of such a workflow is made of the schedule's and of the due time, so to ask twice is to ask
once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError

from crewstream.contracts.events import (
    Missed,
    ScheduleDefined,
    ScheduleState,
    WorkflowRequested,
)
from crewstream.domain import cron, plan
from crewstream.domain.names import MOST_S, TASK_ID
from crewstream.domain.plan import Rules

ROW = "/schedule/"
MOST_AT_ONCE = 100
"""Workflows that one signal asks for; where more were missed, the next signal follows at once."""
MOST_REQUEST_BYTES = 256 * 1024
LATE = timedelta(minutes=1)
"""Who skips what was missed still takes what is no later than this."""

Definition = ScheduleDefined | ScheduleState
_TIMES = ("cron", "timezone")
_CONTENT = ("project_id", *_TIMES, "missed", "request")
OURS = ("workflow_id", "requested_at", "schedule_id")
"""What a schedule gives each of its requests."""


def row_of(schedule_id: str) -> str:
    """The key of a schedule's row; no workflow has such an id."""
    return ROW + schedule_id


def workflow_id(schedule_id: str, due: datetime) -> str:
    """The id of the workflow that a due time asks for: `nightly@2026-11-24T07:00:00Z`."""
    return f"{schedule_id}@{due.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def faults(
    event: ScheduleDefined, rules: Rules, at: datetime, before: ScheduleState | None = None
) -> list[str]:
    """All that is wrong with a definition, as far as it can be known at `at`."""
    found = list(_own_faults(event, at))
    if before is not None and before.project_id != event.project_id:
        found.append(f"project_id: it is one of {before.project_id!r} already; remove that first")
    if len(event.request.encode()) > MOST_REQUEST_BYTES:
        return [*found, f"request: more than {MOST_REQUEST_BYTES} bytes; send data by reference"]
    try:
        request = request_of(event, at)
    except ValidationError as error:
        told = [(".".join(map(str, each["loc"])), each["msg"]) for each in error.errors()]
        return [*found, *(f"request.{path}: {message}" for path, message in told)]
    except (ValueError, RecursionError) as error:
        return [*found, f"request: {error}"]
    wrong = plan.faults(request, rules, event.project_id)
    # What is wrong with the schedule's own name is told once.
    told = [(fault.path, fault.message) for fault in wrong if fault.path not in OURS]
    return [*found, *(f"request.{path}: {message}" for path, message in told)]


def is_same(before: ScheduleState, event: ScheduleDefined) -> bool:
    """Whether a definition says nothing that the row does not say."""
    return _said(before, _CONTENT) == _said(event, _CONTENT)


def define(before: ScheduleState | None, event: ScheduleDefined) -> ScheduleState:
    """The row after a definition without faults; the row itself when it says nothing new.

    No time that was due before is due again, and none that is still to come is forgotten unless
    the times themselves are others now.
    """
    if before is not None and is_same(before, event):
        return before
    last_due_at = before.last_due_at if before else None
    if before is not None and _said(before, _TIMES) == _said(event, _TIMES):
        next_due_at = before.next_due_at
    else:
        since = max(event.defined_at, last_due_at or event.defined_at)
        next_due_at = cron.following(event.cron, event.timezone, since)
    return ScheduleState(
        schedule_id=event.schedule_id,
        next_due_at=next_due_at,
        last_due_at=last_due_at,
        last_workflow_id=before.last_workflow_id if before else "",
        defined_at=event.defined_at,
        **_said(event, _CONTENT),
    )


def fire(
    state: ScheduleState, due: datetime, at: datetime
) -> tuple[ScheduleState, tuple[WorkflowRequested, ...]]:
    """The row after its timer for `due` has fired, and the requests; at `at` it is handled.

    A timer that is not the row's present one changes nothing.
    """
    if due != state.next_due_at:
        return state, ()
    # Clocks differ: it is due even if the one that stamps records says not yet.
    dues, last = _dues(state, due, max(at, due))
    asked = [workflow_id(state.schedule_id, each) for each in dues]
    after = state.changed(
        {
            "next_due_at": cron.following(state.cron, state.timezone, last),
            "last_due_at": last,
            "last_workflow_id": asked[-1] if asked else state.last_workflow_id,
        }
    )
    return after, tuple(request_of(state, each) for each in dues)


def request_of(definition: Definition, due: datetime) -> WorkflowRequested:
    """The request for a due time. Raises ValueError, which says what is wrong with it."""
    given: Any = json.loads(definition.request)
    if not isinstance(given, dict):
        raise ValueError("a JSON object is wanted")  # noqa: TRY004 - told like any other fault
    if taken := [name for name in OURS if name in given]:
        raise ValueError(f"leave out {', '.join(taken)}: the schedule gives them")
    # Neither NaN nor half a character can be sent on.
    json.dumps(given, ensure_ascii=False, allow_nan=False).encode()
    ours = (workflow_id(definition.schedule_id, due), due, definition.schedule_id)
    fields = {"project_id": definition.project_id, **given, **dict(zip(OURS, ours, strict=True))}
    return WorkflowRequested.model_validate(fields)


def _dues(state: ScheduleState, due: datetime, now: datetime) -> tuple[list[datetime], datetime]:
    """The due times up to `now` that are asked for, and the last that is dealt with."""
    if state.missed == Missed.ALL:
        dues = [due]
        while len(dues) < MOST_AT_ONCE:
            further = cron.following(state.cron, state.timezone, dues[-1])
            if further is None or further > now:
                break
            dues.append(further)
        return dues, dues[-1]
    last = cron.latest(state.cron, state.timezone, due, now)
    missed = state.missed == Missed.SKIP and now - last > LATE
    return ([] if missed else [last]), last


def _own_faults(event: ScheduleDefined, at: datetime) -> Iterator[str]:
    if not TASK_ID.fullmatch(event.schedule_id):
        yield "schedule_id: give 1 to 128 letters, digits, dots, dashes, underscores"
    if abs((event.defined_at - at).total_seconds()) > MOST_S:
        yield f"defined_at: {event.defined_at:%Y-%m-%d} is more than a year from now"
    yield from cron.faults(event.cron, event.timezone)


def _said(definition: Definition, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(definition, name) for name in names}
