"""What an attempt and its worker have measured, as events; a call that was paid is told once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from crewstream.contracts.events import (
    Measured,
    MeasuredStatus,
    Operation,
    TaskAssigned,
)
from crewstream.contracts.record import trusted
from crewstream.domain.attempts import journal
from crewstream.domain.outputs import measurement_id, trace_id
from crewstream_agents import spec


def measured(task: TaskAssigned, outcome: spec.CrewOutcome, worker: str) -> Iterator[Measured]:
    """The attempt itself, its calls, choices and delegations, and budgets that came to their end.

    Tokens and cost stand with the calls only.
    """
    common: dict[str, Any] = {
        "tenant_id": task.tenant_id,
        "project_id": task.project_id,
        "workflow_id": task.workflow_id,
        "task_id": task.task_id,
        "assignment_id": task.assignment_id,
        "attempt": task.attempt,
        "workflow_type": task.workflow_type,
        "crew": task.crew,
        "task_type": task.task_type,
        "priority": task.priority,
        "offline": outcome.offline,
        "worker": worker,
        "trace_id": trace_id(task.traceparent),
    }
    yield trusted(Measured)(
        event_id=measurement_id(task.assignment_id, Operation.TASK),
        occurred_at=outcome.finished_at,
        operation=Operation.TASK,
        status=_status(outcome),
        error_type=outcome.failure.error_type if outcome.failure else "",
        agent=outcome.agent,
        model=outcome.model,
        queue_ms=_ms(outcome.started_at - task.assigned_at),
        duration_ms=_ms(outcome.finished_at - outcome.started_at),
        attributes=_attributes(task, outcome),
        **common,
    )
    for call in outcome.calls:
        yield _call(task, call, common)
    for selection in outcome.selections:
        yield _chosen(task, selection, outcome.finished_at, common)
    for delegation in outcome.delegations:
        yield _delegated(task, delegation, outcome.finished_at, common)
    for alert in outcome.alerts:
        yield _alert(task, alert, outcome.finished_at, common)


def _files(files: Sequence[spec.WrittenFile]) -> dict[str, str]:
    """What a run wrote into its folder, which is gone, as JSON: size in bytes by path."""
    return {"files": json.dumps({one.path: one.size_bytes for one in files})} if files else {}


def resources(
    worker: str, at: datetime, cores: float, memory_bytes: int, figures: Mapping[str, str]
) -> Measured:
    """What a worker uses: processors, resident memory of it and its runners, other figures."""
    return trusted(Measured)(
        event_id=measurement_id(worker, Operation.RESOURCE, at.isoformat()),
        occurred_at=at,
        tenant_id="",
        project_id="",
        operation=Operation.RESOURCE,
        status=MeasuredStatus.OK,
        cpu_ratio=cores,
        memory_bytes=memory_bytes,
        worker=worker,
        attributes=dict(figures),
    )


def _alert(
    task: TaskAssigned, alert: spec.BudgetAlert, at: datetime, common: dict[str, Any]
) -> Measured:
    reached = alert.level == "hard"
    what = {"account": alert.account, "level": alert.level, "unit": alert.unit}
    return trusted(Measured)(
        event_id=measurement_id(task.assignment_id, Operation.BUDGET, *what.values(), alert.limit),
        occurred_at=at,
        operation=Operation.BUDGET,
        status=MeasuredStatus.ERROR if reached else MeasuredStatus.OK,
        error_type="budget.exceeded" if reached else "",
        attributes={**what, "spent": f"{alert.spent:f}", "limit": f"{alert.limit:f}"},
        **common,
    )


def _attributes(task: TaskAssigned, outcome: spec.CrewOutcome) -> dict[str, str]:
    """What the run says of itself, and what its agent's record rests on beside."""
    failed = sum(
        call.operation is spec.Operation.EXECUTE_TOOL and bool(call.error_type)
        for call in outcome.calls
    )
    # Who is content with a result says nothing; what is said sends it back.
    sent_back = sum(bool(answer.strip()) for answer in task.answers)
    counted = {"tool_failures": failed, "sent_back": sent_back}
    files = _files(outcome.files)
    return {**outcome.attributes, **files, **{name: str(n) for name, n in counted.items() if n}}


def _chosen(
    task: TaskAssigned, made: spec.Selection, at: datetime, common: dict[str, Any]
) -> Measured:
    candidates = [
        {"agent": one.agent, "score": one.score, "runs": one.runs, "confidence": one.confidence}
        | ({"busy": True} if one.busy else {})
        for one in made.candidates
    ]
    at = made.at or at
    return trusted(Measured)(
        event_id=measurement_id(journal(task), Operation.SELECTION, made.task_type, at),
        occurred_at=at,
        operation=Operation.SELECTION,
        status=MeasuredStatus.OK,
        agent=made.agent,
        attributes={
            "agent_name": made.agent,
            "chosen_for": made.task_type,
            "reason": made.reason,
            "explored": "true" if made.explored else "false",
            "candidates": json.dumps(candidates),
        },
        **common,
    )


def _delegated(
    task: TaskAssigned, one: spec.Delegation, at: datetime, common: dict[str, Any]
) -> Measured:
    at = one.at or at
    who = (one.manager, one.coworker, one.kind)
    return trusted(Measured)(
        event_id=measurement_id(journal(task), Operation.DELEGATION, *who, at),
        occurred_at=at,
        operation=Operation.DELEGATION,
        status=MeasuredStatus.ERROR if one.error_type else MeasuredStatus.OK,
        error_type=one.error_type,
        agent=one.coworker,
        duration_ms=one.duration_ms,
        attributes={
            "agent_name": one.name,
            "manager": one.manager,
            "asked": one.asked,
            "kind": one.kind,
            "task": one.task,
            "context": one.context,
            "result": one.result,
        },
        **common,
    )


def _call(task: TaskAssigned, call: spec.Call, common: dict[str, Any]) -> Measured:
    # A call that was paid is one row, whoever tells of it; each replay of it is a row of its own.
    paid = bool(call.name) and not call.replayed
    named = (journal(task), call.name) if paid else (task.assignment_id, call.sequence)
    return trusted(Measured)(
        event_id=measurement_id(named[0], call.operation, named[1]),
        occurred_at=call.started_at + timedelta(milliseconds=call.duration_ms),
        operation=Operation(call.operation),
        status=MeasuredStatus.ERROR if call.error_type else MeasuredStatus.OK,
        error_type=call.error_type,
        agent=call.agent,
        tool=call.tool,
        provider=call.provider,
        model=call.model,
        duration_ms=call.duration_ms,
        input_tokens=call.usage.input_tokens,
        output_tokens=call.usage.output_tokens,
        cached_tokens=call.usage.cached_tokens,
        cost_usd=call.usage.cost_usd,
        replayed=call.replayed,
        attributes=dict(call.attributes),
        **common,
    )


def _status(outcome: spec.CrewOutcome) -> MeasuredStatus:
    return {
        spec.Status.SUCCEEDED: MeasuredStatus.OK,
        spec.Status.CANCELLED: MeasuredStatus.CANCELLED,
    }.get(outcome.status, MeasuredStatus.ERROR)


def _ms(span: timedelta) -> float:
    return max(0.0, span.total_seconds() * 1000)
