"""An assignment becomes a crew's task, and what its run brought becomes events."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from crewstream.contracts.events import (
    Candidate,
    CrewOutput,
    Delegation,
    Failure,
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
from crewstream.domain.outputs import token_usage
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
