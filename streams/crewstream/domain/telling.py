"""What is told about a workflow beside its events: in its records' headers, and in the logs."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from crewstream.contracts import envelope
from crewstream.contracts.envelope import Header
from crewstream.contracts.events import WorkflowState, WorkflowStatus

# What was rejected has not been checked, and may be as long as its topic takes.
MOST_CHARACTERS = 200


def headers(state: WorkflowState, kind: str, *, name: str, source: str, cause: str) -> list[Header]:
    """The headers of an event about this row; `name` is the event's id, `cause` its cause's."""
    return envelope.headers_for(
        kind,
        id=name,
        source=source,
        subject=state.workflow_id,
        time=state.updated_at,
        tenant_id=state.tenant_id,
        correlation_id=state.workflow_id,
        causation_id=cause,
        traceparent=state.traceparent,
    )


def level(state: WorkflowState) -> int:
    """How loud the end of a workflow is told: only a rejected one wants somebody to act."""
    return logging.WARNING if state.status == WorkflowStatus.REJECTED else logging.DEBUG


def ended(state: WorkflowState) -> dict[str, object]:
    """The fields of the line about a workflow that has ended."""
    ended_at = state.ended_at or state.updated_at
    fields: dict[str, object] = {
        "workflow_id": state.workflow_id[:MOST_CHARACTERS],
        "tenant_id": state.tenant_id[:MOST_CHARACTERS],
        "project_id": state.project_id[:MOST_CHARACTERS],
        "status": str(state.status),
        "duration_ms": round((ended_at - state.accepted_at).total_seconds() * 1000, 3),
        "tasks": len(state.tasks),
    }
    if state.failure is not None:
        fields["error_type"] = state.failure.error_type
    if state.faults:
        fields["faults"] = list(dict.fromkeys(fault.code for fault in state.faults))
    return fields


def letter(
    position: str, key: bytes | None, headers: Iterable[Header], error: Exception
) -> dict[str, object]:
    """The fields of the line about a dead letter; its ids are what headers and key claim."""
    told = envelope.read(headers)
    workflow_id = told.subject or (key or b"").decode("utf-8", "replace").partition("/")[0]
    return {
        "workflow_id": workflow_id[:MOST_CHARACTERS],
        "tenant_id": told.tenant_id[:MOST_CHARACTERS],
        "at": position,
        "error_type": type(error).__name__,
        "reason": str(error)[:MOST_CHARACTERS],
    }
