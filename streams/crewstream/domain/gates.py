"""What a workflow waits for before its first task: other workflows, a time, room for its tenant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from crewstream.contracts.events import (
    Admission,
    Awaited,
    Failure,
    Fault,
    Required,
    WorkflowRequested,
    WorkflowState,
    WorkflowStatus,
)
from crewstream.domain.names import MOST_S, WORKFLOW_ID

MOST_AWAITED = 100
DEFAULT_AFTER_TIMEOUT_S = 24 * 3600.0


def faults(request: WorkflowRequested) -> Iterator[Fault]:
    """What is wrong with what a request waits for."""
    if len(request.after) > MOST_AWAITED:
        message = f"{len(request.after)} workflows; at most {MOST_AWAITED} can be waited for"
        yield Fault(code="after.too_many", path="after", message=message)
        return
    seen: set[str] = set()
    for number, each in enumerate(request.after):
        path = f"after[{number}].workflow_id"
        if not WORKFLOW_ID.fullmatch(each.workflow_id):
            message = "give 1 to 200 characters without white space or slashes"
            yield Fault(code="after.invalid_id", path=path, message=message)
        elif each.workflow_id == request.workflow_id:
            message = "a workflow cannot wait for itself"
            yield Fault(code="after.cycle", path=path, message=message)
        elif each.workflow_id in seen:
            message = f"{each.workflow_id!r} stands there already"
            yield Fault(code="after.duplicate_id", path=path, message=message)
        seen.add(each.workflow_id)
    if not 0 <= request.after_timeout_s <= MOST_S:
        message = f"{request.after_timeout_s}: give seconds, {MOST_S:.0f} at most, or 0"
        yield Fault(code="after.invalid_timeout", path="after_timeout_s", message=message)


def awaited(request: WorkflowRequested) -> tuple[Awaited, ...]:
    """The workflows that a request waits for, none of them ended as far as is known."""
    return tuple(
        Awaited(
            workflow_id=each.workflow_id,
            required=Required.ENDED if each.required == Required.ENDED else Required.COMPLETED,
        )
        for each in request.after
    )


def after_due(request: WorkflowRequested, at: datetime) -> datetime | None:
    """When a request stops waiting for other workflows."""
    if not request.after:
        return None
    return at + timedelta(seconds=request.after_timeout_s or DEFAULT_AFTER_TIMEOUT_S)


def unresolved(state: WorkflowState) -> Sequence[Awaited]:
    """The workflows that are still waited for."""
    return [each for each in state.after if each.status == WorkflowStatus.UNKNOWN]


def is_held(state: WorkflowState) -> bool:
    """Whether it waits for other workflows, or for its time, by the time of its last transition."""
    early = state.not_before is not None and state.updated_at < state.not_before
    return early or bool(state.after and unresolved(state))


def is_closed(state: WorkflowState) -> bool:
    """Whether none of its tasks may be released yet."""
    return state.admission == Admission.WAITING or is_held(state)


def unmet(each: Awaited) -> Failure | None:
    """Why a workflow that was waited for does not do; None when it does."""
    if each.required == Required.ENDED or each.status == WorkflowStatus.COMPLETED:
        return None
    message = f"workflow {each.workflow_id!r} ended as {each.status}; completed was required"
    return Failure(error_type="after.unmet", message=message)


def timed_out(state: WorkflowState) -> Failure:
    """Why it waits no longer for other workflows."""
    names = ", ".join(repr(each.workflow_id) for each in unresolved(state))
    message = f"not ended in time, or not known: {names}"
    return Failure(error_type="after.timeout", message=message)


def next_due(state: WorkflowState) -> datetime | None:
    """When a gate has to be looked at again."""
    dues = []
    if state.not_before is not None and state.updated_at < state.not_before:
        dues.append(state.not_before)
    if state.after_due_at is not None and unresolved(state):
        dues.append(state.after_due_at)
    return min(dues, default=None)
