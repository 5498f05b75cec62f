"""An assignment becomes a crew's task, and what its run brought becomes events."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from crewstream.contracts.events import (
    Candidate,
    CrewOutput,
    Delegation,
    Failure,
    Measured,
    MeasuredStatus,
    Operation,
    Outcome,
    Selection,
    TaskAssigned,
    TaskFinished,
    TaskOutput,
    ToolFailure,
    Usage,
)
from crewstream.contracts.limits import Limits
from crewstream.contracts.record import trusted
from crewstream.domain.outputs import measurement_id, token_usage, trace_id
from crewstream_agents import spec

NO_LIMIT_S = 7 * 24 * 3600.0


def crew_task(
    task: TaskAssigned,
    at: datetime,
    limits: Limits,
    standings: Mapping[str, spec.Candidate] | None = None,
) -> spec.CrewTask:
    """What a runner gets. Raises ValueError: the inputs are not a JSON object."""
    of_agents = limits.project(task.project_id).agents
    inputs = json.loads(task.inputs)
    if not isinstance(inputs, dict):
        raise ValueError(f"a JSON object is wanted, not {type(inputs).__name__}")  # noqa: TRY004  (of JSON)
    of_project = limits.project(task.project_id)
    return spec.CrewTask(
        assignment_id=task.assignment_id,
        workflow_id=task.workflow_id,
        task_id=task.task_id,
        attempt=task.attempt,
        tenant_id=task.tenant_id,
        project_id=task.project_id,
        crew=task.crew,
        task_type=task.task_type,
        description=task.description,
        expected_output=task.expected_output,
        keywords=task.keywords,
        agent=task.agent,
        inputs=inputs,
        upstream=[
            spec.Upstream(
                one.task_id,
                one.status,
                one.output,
                one.output_json,
                raw=one.raw,
                task_type=one.task_type,
                context=one.context,
            )
            for one in task.upstream
        ],
        deadline_s=left_s(task, at),
        journal=journal(task),
        repeat_unknown=task.repeat_unknown,
        accounts=list(accounts(task, limits)),
        standings=standings or {},
        agent_limits={name: each.max_tasks or 0 for name, each in of_agents.items()},
        part_of=task.part_of,
        answers=task.answers,
        tools=limits.allowed_tools(task.tenant_id, task.project_id),
        isolation=of_project.isolation_of(task.crew),
        limits=spec.RunLimits(
            of_project.max_llm_calls, of_project.max_tool_calls, of_project.max_iterations
        ),
    )


def journal(task: TaskAssigned) -> str:
    """The name of the journal that the attempt writes, and is answered from."""
    return task.journal or task.assignment_id


def accounts(task: TaskAssigned, limits: Limits) -> Iterator[spec.Account]:
    """What the model calls of the attempt are charged to; months are UTC's, by the assignment."""
    at, soft = task.assigned_at.astimezone(UTC), limits.soft_ratio
    of_workflow = f"workflow:{task.workflow_id}"
    yield spec.Account(of_workflow, task.max_tokens, task.max_cost_usd or None, soft)
    for name, month in (
        (f"tenant:{task.tenant_id}", limits.tenant(task.tenant_id).month),
        (f"project:{task.project_id}", limits.project(task.project_id).month),
    ):
        account = f"{name}:{at.year:04}-{at.month:02}"
        yield spec.Account(account, month.max_tokens or 0, month.max_cost_usd, soft)


def left_s(task: TaskAssigned, at: datetime) -> float:
    """Seconds until the attempt must have ended; negative when it is too late."""
    if task.deadline_at is None:
        return NO_LIMIT_S
    return (task.deadline_at - at).total_seconds()


def not_run(task: TaskAssigned, at: datetime, error_type: str, message: str) -> spec.CrewOutcome:
    """The outcome of an attempt that no crew has seen."""
    failure = spec.Failure(error_type, message)
    return spec.CrewOutcome(task.assignment_id, spec.Status.FAILED, at, at, failure=failure)


def finished(task: TaskAssigned, outcome: spec.CrewOutcome, worker: str) -> TaskFinished:
    """The result of an attempt, for the coordinator."""
    failure = outcome.failure
    return trusted(TaskFinished)(
        assignment_id=task.assignment_id,
        workflow_id=task.workflow_id,
        task_id=task.task_id,
        attempt=task.attempt,
        tenant_id=task.tenant_id,
        project_id=task.project_id,
        crew=task.crew,
        task_type=task.task_type,
        status=Outcome(outcome.status),
        output=outcome.output,
        output_json=outcome.output_json,
        agent=outcome.agent,
        model=outcome.model,
        offline=outcome.offline,
        failure=None if failure is None else _failure(failure),
        tool_failures=tuple(
            ToolFailure(tool=one.tool, message=one.message) for one in outcome.tool_failures
        ),
        selections=tuple(map(_selection, outcome.selections)),
        delegations=tuple(map(_delegation, outcome.delegations)),
        usage=_usage(outcome.usage),
        started_at=outcome.started_at,
        finished_at=outcome.finished_at,
        worker=worker,
        crew_output=_crew_output(outcome),
    )


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


def _selection(made: spec.Selection) -> Selection:
    return Selection(
        task_type=made.task_type,
        agent=made.agent,
        reason=made.reason,
        explored=made.explored,
        candidates=tuple(
            Candidate(
                agent=one.agent,
                score=one.score,
                runs=one.runs,
                confidence=one.confidence,
                busy=one.busy,
            )
            for one in made.candidates
        ),
    )


def _delegation(one: spec.Delegation) -> Delegation:
    return Delegation(
        manager=one.manager,
        coworker=one.coworker,
        asked=one.asked,
        kind=one.kind,
        task=one.task,
        context=one.context,
        result=one.result,
        duration_ms=one.duration_ms,
    )


def _failure(failure: spec.Failure) -> Failure:
    return Failure(
        error_type=failure.error_type,
        message=failure.message,
        retryable=failure.retryable,
        retry_after_s=failure.retry_after_s,
    )


def smaller(outcome: spec.CrewOutcome) -> Iterator[spec.CrewOutcome]:
    """Outcomes with the same output, each with less beside it: what is said twice goes first.

    What the last agent said stays longest, for it is the context of the crew's other tasks.
    """
    output = outcome.crew_output
    if output is None:
        return
    if output.tasks_output:
        yield replace(outcome, crew_output=replace(output, tasks_output=()))
    if output.json_dict or output.pydantic:
        yield replace(outcome, crew_output=spec.CrewOutput(output.raw))
    yield replace(outcome, crew_output=None)


def _crew_output(outcome: spec.CrewOutcome) -> CrewOutput | None:
    output = outcome.crew_output
    if output is None:
        return None
    return trusted(CrewOutput)(
        raw=output.raw,
        json_dict=output.json_dict,
        pydantic=output.pydantic,
        tasks_output=tuple(
            trusted(TaskOutput)(
                name=one.name,
                description=one.description,
                agent=one.agent,
                raw=one.raw,
                json_dict=one.json_dict,
                pydantic=one.pydantic,
                output_format=one.output_format,
            )
            for one in output.tasks_output
        ),
        token_usage=token_usage(_usage(outcome.usage)),
    )


def _usage(usage: spec.Usage) -> Usage:
    return trusted(Usage)(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_tokens=usage.cached_tokens,
        llm_calls=usage.llm_calls,
        tool_calls=usage.tool_calls,
        cost_usd=usage.cost_usd,
    )


def _status(outcome: spec.CrewOutcome) -> MeasuredStatus:
    return {
        spec.Status.SUCCEEDED: MeasuredStatus.OK,
        spec.Status.CANCELLED: MeasuredStatus.CANCELLED,
    }.get(outcome.status, MeasuredStatus.ERROR)


def _ms(span: timedelta) -> float:
    return max(0.0, span.total_seconds() * 1000)
