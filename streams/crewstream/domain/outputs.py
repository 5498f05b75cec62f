"""The events that follow from a transition, built from the row and what it rests on."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime

from crewstream.contracts.events import (
    CrewOutput,
    Failure,
    Measured,
    MeasuredStatus,
    Operation,
    Outcome,
    Signal,
    TaskAssigned,
    TaskCancelled,
    TaskFinished,
    TaskOutcome,
    TaskRequest,
    TaskState,
    TaskStatus,
    TokenUsage,
    Usage,
    WorkflowFinished,
    WorkflowRequested,
    WorkflowSignalled,
    WorkflowState,
    WorkflowStatus,
)
from crewstream.contracts.record import trusted
from crewstream.domain import references, upstream
from crewstream.domain.policy import assignment_id
from crewstream.domain.workflow import missing

# The name space of our event ids (RFC 9562, version 5): the same thing measured is the same id.
_MEASUREMENTS = uuid.UUID("6c2f9c0e-6a52-5d0b-9b0e-2f7a4f1c7a10")

_STATUS = {
    WorkflowStatus.COMPLETED: MeasuredStatus.OK,
    WorkflowStatus.CANCELLED: MeasuredStatus.CANCELLED,
    WorkflowStatus.REJECTED: MeasuredStatus.REJECTED,
}


def measurement_id(*what: object) -> str:
    """A UUID that is a function of what was measured."""
    # As str(uuid.uuid5(…)), at a third of its price: two a workflow are made, and one a call.
    named = _MEASUREMENTS.bytes + "\x1f".join(map(str, what)).encode()
    digits = hashlib.sha1(named, usedforsecurity=False).hexdigest()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


def assigned(
    state: WorkflowState,
    task: TaskState,
    request: WorkflowRequested,
    results: Mapping[str, TaskFinished],
    inputs: str,
) -> TaskAssigned:
    """The assignment of a task's present attempt; `results` holds those of its dependencies."""
    asked = requested(request, task.task_id)
    return trusted(TaskAssigned)(
        assignment_id=assignment_id(state.workflow_id, task.task_id, task.attempt),
        workflow_id=state.workflow_id,
        task_id=task.task_id,
        attempt=task.attempt,
        tenant_id=state.tenant_id,
        project_id=task.project_id,
        workflow_type=state.workflow_type,
        crew=task.crew,
        task_type=task.task_type,
        agent=asked.agent,
        description=asked.description,
        expected_output=asked.expected_output,
        keywords=asked.keywords,
        priority=state.priority,
        inputs=inputs,
        upstream=upstream.brought(state, request, task, results),
        assigned_at=task.assigned_at or state.updated_at,
        deadline_at=task.due_at,
        traceparent=state.traceparent,
        journal=assignment_id(
            state.workflow_id, task.task_id, task.journal_attempt or task.attempt
        ),
        repeat_unknown=task.repeat_unknown,
        accepted_at=state.accepted_at,
        started=any(each.status == TaskStatus.SUCCEEDED for each in state.tasks),
        concurrency_key=task.concurrency_key and f"{task.project_id}/{task.concurrency_key}",
        max_tokens=state.max_tokens,
        max_cost_usd=state.max_cost_usd,
        part_of=asked.part_of,
        answers=task.answers,
    )


def may_refer(request: WorkflowRequested) -> bool:
    """Whether inputs may refer to outputs."""
    texts = (request.inputs, *(task.inputs for task in request.tasks))
    return any(map(references.may_refer, texts))


def document(finished: WorkflowFinished, task_id: str) -> references.Document | None:
    """What can be selected from a workflow that has ended, or from one of its tasks."""
    tasks = {
        each.task_id: references.document(each.status, each.output, each.output_json)
        for each in finished.tasks
    }
    return tasks.get(task_id) if task_id else {"status": finished.status, "tasks": tasks}


def cancelled(state: WorkflowState, task: TaskState) -> TaskCancelled:
    """That an attempt under way is not wanted any more."""
    late = task.due_at is not None and task.due_at <= state.updated_at
    reason = state.failure.error_type if state.failure else "task.timeout" if late else ""
    return TaskCancelled(
        assignment_id=assignment_id(state.workflow_id, task.task_id, task.attempt),
        workflow_id=state.workflow_id,
        task_id=task.task_id,
        attempt=task.attempt,
        tenant_id=state.tenant_id,
        project_id=task.project_id,
        reason=reason,
        cancelled_at=state.updated_at,
    )


def finished(state: WorkflowState, results: Mapping[str, TaskFinished]) -> WorkflowFinished:
    """The result of a workflow that has ended; `results` holds the last one of each task."""
    ended = state.ended_at or state.updated_at
    partial = state.status == WorkflowStatus.PARTIAL
    return trusted(WorkflowFinished)(
        workflow_id=state.workflow_id,
        tenant_id=state.tenant_id,
        project_id=state.project_id,
        workflow_type=state.workflow_type,
        status=state.status,
        requested_at=state.requested_at,
        finished_at=ended,
        duration_ms=_duration_ms(state, ended),
        tasks=tuple(_outcome(task, results.get(task.task_id)) for task in state.tasks),
        missing=missing(state) if partial else (),
        faults=state.faults,
        failure=state.failure,
        usage=state.usage,
    )


def unsendable(event: TaskAssigned, error_type: str, message: str) -> TaskFinished:
    """The answer to an assignment that cannot be sent: it has failed for good."""
    return TaskFinished(
        assignment_id=event.assignment_id,
        workflow_id=event.workflow_id,
        task_id=event.task_id,
        attempt=event.attempt,
        tenant_id=event.tenant_id,
        project_id=event.project_id,
        crew=event.crew,
        task_type=event.task_type,
        status=Outcome.FAILED,
        failure=Failure(error_type=error_type, message=message),
        started_at=event.assigned_at,
        finished_at=event.assigned_at,
    )


def smaller(event: WorkflowFinished, why: str) -> Iterator[WorkflowFinished]:
    """Results of a workflow whose outputs are too large for one record, each smaller.

    First without what is said twice, CrewAI's own form of each output; then without outputs.
    """
    tasks = tuple(task.changed({"crew_output": None}) for task in event.tasks)
    yield event.changed({"tasks": tasks})
    left_out = f"(left out: {why}; it stands in task.results for 7 days)"
    bare: dict[str, object] = {"output": left_out, "output_json": None, "delegations": ()}
    yield event.changed({"tasks": tuple(task.changed(bare) for task in tasks)})


def measured(state: WorkflowState) -> Measured:
    """The measurement of a workflow that has ended; its tokens and cost are those of its calls."""
    ended = state.ended_at or state.updated_at
    return trusted(Measured)(
        event_id=measurement_id(state.workflow_id, Operation.INVOKE_WORKFLOW, state.version),
        occurred_at=ended,
        tenant_id=state.tenant_id,
        project_id=state.project_id,
        workflow_id=state.workflow_id,
        operation=Operation.INVOKE_WORKFLOW,
        status=_STATUS.get(state.status, MeasuredStatus.ERROR),
        error_type=_error_type(state),
        workflow_type=state.workflow_type,
        priority=state.priority,
        duration_ms=_duration_ms(state, ended),
        trace_id=trace_id(state.traceparent),
        attributes={"workflow.status": state.status},
    )


def fired(workflow_id: str, due: datetime) -> WorkflowSignalled:
    """The signal that a row's timer was due."""
    return WorkflowSignalled(
        signal_id=f"{workflow_id}#{due.isoformat()}",
        workflow_id=workflow_id,
        signal=Signal.TIMER_FIRED,
        due_at=due,
        occurred_at=due,
    )


def trace_id(traceparent: str) -> str:
    """The trace id of a W3C traceparent header; empty when there is none."""
    parts = traceparent.split("-")
    return parts[1] if len(parts) >= 4 and len(parts[1]) == 32 else ""  # noqa: PLR2004  (W3C sizes)


def requested(request: WorkflowRequested, task_id: str) -> TaskRequest:
    """The task of that name, as it was asked for."""
    return next(task for task in request.tasks if task.task_id == task_id)


def laid_over(below: str, above: str) -> str:
    """The inputs of a task: the workflow's, with its own laid over."""
    if above == "{}":
        return below
    if below == "{}":
        return above
    return json.dumps({**json.loads(below), **json.loads(above)})


def _outcome(task: TaskState, result: TaskFinished | None) -> TaskOutcome:
    outcome = trusted(TaskOutcome)(
        task_id=task.task_id,
        project_id=task.project_id,
        crew=task.crew,
        task_type=task.task_type,
        status=task.status,
        attempts=task.attempt,
        agent=task.agent,
        failure=task.failure,
        usage=task.usage,
        finished_at=task.finished_at,
    )
    if result is None:
        return outcome
    return outcome.changed(
        {
            "model": result.model,
            "offline": result.offline,
            "output": result.output,
            "output_json": result.output_json,
            "crew_output": _crew_output(task, result),
            "selections": result.selections,
            "delegations": result.delegations,
            "tool_failures": result.tool_failures,
            "started_at": result.started_at,
        }
    )


def _crew_output(task: TaskState, result: TaskFinished) -> CrewOutput | None:
    """As CrewAI would tell of it, with what all attempts have used."""
    if result.crew_output is None:
        return None
    return result.crew_output.changed({"token_usage": token_usage(task.usage)})


def token_usage(usage: Usage) -> TokenUsage:
    """What was used, in CrewAI's names; each call counts once."""
    return trusted(TokenUsage)(
        total_tokens=usage.input_tokens + usage.output_tokens,
        prompt_tokens=usage.input_tokens,
        completion_tokens=usage.output_tokens,
        cached_prompt_tokens=usage.cached_tokens,
        successful_requests=usage.llm_calls,
    )


def _duration_ms(state: WorkflowState, ended: datetime) -> float:
    return (ended - state.accepted_at).total_seconds() * 1000


def _error_type(state: WorkflowState) -> str:
    if state.failure is not None:
        return state.failure.error_type
    return state.faults[0].code if state.faults else ""
