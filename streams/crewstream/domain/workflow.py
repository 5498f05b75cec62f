"""The state machine of one workflow: what an event makes of it, and what follows from that."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from crewstream.contracts.events import (
    Admission,
    Failure,
    FailurePolicy,
    Fault,
    Outcome,
    TaskFinished,
    TaskState,
    TaskStatus,
    Usage,
    WorkflowRequested,
    WorkflowState,
    WorkflowStatus,
)
from crewstream.contracts.record import trusted
from crewstream.domain import gates, policy
from crewstream.domain.plan import tasks_of
from crewstream.domain.task import OPEN, failed, overdue, released, unexplained


def accept(
    request: WorkflowRequested,
    faults: tuple[Fault, ...],
    at: datetime,
    digest: str,
    trace: str,
    *,
    limited: bool = False,
) -> WorkflowState:
    """The first row of a workflow: its first tasks assigned, or rejected with every fault.

    `limited`: its tenant has limits, so that it needs a place in them before it starts.
    """
    state = trusted(WorkflowState)(
        workflow_id=request.workflow_id,
        tenant_id=request.tenant_id,
        project_id=request.project_id,
        workflow_type=request.workflow_type,
        version=1,
        status=WorkflowStatus.REJECTED if faults else WorkflowStatus.ACCEPTED,
        priority=request.priority,
        coordination=request.coordination,
        failure_policy=request.failure_policy,
        requested_at=request.requested_at,
        accepted_at=at,
        updated_at=at,
        ended_at=at if faults else None,
        deadline_at=None if faults else _deadline(request, at),
        request_sha256=digest,
        traceparent=trace,
        tasks=() if faults else tasks_of(request),
        faults=faults,
        after=() if faults else gates.awaited(request),
        after_due_at=None if faults else gates.after_due(request, at),
        not_before=request.not_before,
        admission=Admission.WAITING if limited and not faults else Admission.UNLIMITED,
        max_tokens=request.max_tokens,
        max_cost_usd=request.max_cost_usd,
    )
    return state if faults else settle(state, at)


def _deadline(request: WorkflowRequested, at: datetime) -> datetime | None:
    return at + timedelta(seconds=request.deadline_s) if request.deadline_s else None


def finish_task(state: WorkflowState, result: TaskFinished, at: datetime) -> WorkflowState:
    """Apply how an attempt ended; the same state when it is not the attempt that is awaited."""
    task = find_task(state, result.task_id)
    if task is None or not _awaits(state, task, result.attempt):
        return state
    task = task.changed(
        {"agent": result.agent, "usage": add(task.usage, result.usage), "due_at": None}
    )
    if result.status == Outcome.SUCCEEDED:
        ended = {"status": TaskStatus.SUCCEEDED, "finished_at": at, "failure": None}
        task = task.changed(ended)
    else:
        task = failed(state.workflow_id, task, result.failure or unexplained(result), at)
    state = state.changed({"usage": add(state.usage, result.usage)})
    return advance(state, at, [task])


def fire_timer(state: WorkflowState, due: datetime) -> WorkflowState | None:
    """Apply all that was due by `due`; None when the row has outlived its retention."""
    if state.ended_at is not None:
        return None if state.ended_at + policy.RETENTION <= due else state
    if state.deadline_at is not None and state.deadline_at <= due:
        return end(stamp(state, due), due, WorkflowStatus.FAILED, policy.DEADLINE_PASSED)
    gate = gates.next_due(state)
    late = [task for task in state.tasks if task.due_at is not None and task.due_at <= due]
    if not late and (gate is None or gate > due):
        return state
    if state.after_due_at is not None and state.after_due_at <= due and gates.unresolved(state):
        return end(stamp(state, due), due, WorkflowStatus.FAILED, gates.timed_out(state))
    return advance(state, due, [overdue(state.workflow_id, task, due) for task in late])


def resolve(
    state: WorkflowState, workflow_id: str, status: WorkflowStatus, at: datetime
) -> WorkflowState:
    """Apply how a workflow ended that this one waits for; the same state when it does not."""
    waits = any(each.workflow_id == workflow_id for each in gates.unresolved(state))
    if policy.is_ended(state.status) or not waits:
        return state
    after = tuple(
        each.changed({"status": status}) if each.workflow_id == workflow_id else each
        for each in state.after
    )
    state = stamp(state, at, {"after": after})
    failures = (gates.unmet(each) for each in after if each.workflow_id == workflow_id)
    failure = next(filter(None, failures), None)
    if failure is not None:
        return end(state, at, WorkflowStatus.FAILED, failure)
    return settle(state, at)


def admit(state: WorkflowState, at: datetime) -> WorkflowState:
    """Its tenant's limits let it run; the same state when it did not wait for that."""
    if policy.is_ended(state.status) or state.admission != Admission.WAITING:
        return state
    return settle(stamp(state, at, {"admission": Admission.GRANTED}), at)


def refuse(state: WorkflowState, fault: Fault, at: datetime) -> WorkflowState:
    """A fault that shows only beside other workflows; what has begun is not refused any more."""
    if policy.is_ended(state.status) or not gates.is_closed(state):
        return state
    refused = end(stamp(state, at), at, WorkflowStatus.REJECTED, None)
    return refused.changed({"faults": (fault,)})


def find_task(state: WorkflowState, task_id: str) -> TaskState | None:
    """The task of that name, or None."""
    return next((task for task in state.tasks if task.task_id == task_id), None)


def missing(state: WorkflowState) -> tuple[str, ...]:
    """The tasks that brought no output."""
    return tuple(t.task_id for t in state.tasks if t.status != TaskStatus.SUCCEEDED)


def add(left: Usage, right: Usage) -> Usage:
    """The sum of what two runs consumed."""
    if right == _NOTHING:
        return left
    return Usage(
        input_tokens=left.input_tokens + right.input_tokens,
        output_tokens=left.output_tokens + right.output_tokens,
        cached_tokens=left.cached_tokens + right.cached_tokens,
        llm_calls=left.llm_calls + right.llm_calls,
        tool_calls=left.tool_calls + right.tool_calls,
        cost_usd=left.cost_usd + right.cost_usd,
    )


_NOTHING = Usage()


def _awaits(state: WorkflowState, task: TaskState, attempt: int) -> bool:
    return (
        not policy.is_ended(state.status)
        and task.status == TaskStatus.ASSIGNED
        and task.attempt == attempt
    )


def advance(state: WorkflowState, at: datetime, changed: Iterable[TaskState]) -> WorkflowState:
    """The next version, with the changed tasks in place and all that follows from them."""
    return settle(stamp(_replace(state, changed), at), at)


def stamp(
    state: WorkflowState, at: datetime, more: dict[str, object] | None = None
) -> WorkflowState:
    """The next version of a row."""
    stamped = {"version": state.version + 1, "updated_at": at, **(more or {})}
    return state.changed(stamped)


def _replace(state: WorkflowState, changed: Iterable[TaskState]) -> WorkflowState:
    new = {task.task_id: task for task in changed}
    return state.changed({"tasks": tuple(new.get(t.task_id, t) for t in state.tasks)})


def settle(state: WorkflowState, at: datetime) -> WorkflowState:
    """Skip what can never run, release what can run now, and end what has nothing left."""
    if state.failure_policy == FailurePolicy.FAIL:
        failed = next((t for t in state.tasks if t.status == TaskStatus.FAILED), None)
        if failed is not None:
            return end(state, at, WorkflowStatus.FAILED, failed.failure)
    state = _skip(state, at)
    if not any(task.status in OPEN for task in state.tasks):
        return end(state, at, *_verdict(state))
    return state if state.status == WorkflowStatus.PAUSED else _release(state, at)


def _skip(state: WorkflowState, at: datetime) -> WorkflowState:
    if state.failure_policy == FailurePolicy.CONTINUE:
        return state
    lost = {t.task_id for t in state.tasks if t.status not in OPEN | {TaskStatus.SUCCEEDED}}
    skipped: dict[str, TaskState] = {}
    while lost:  # once a level of the graph
        hit = [
            task
            for task in state.tasks
            if task.status == TaskStatus.PENDING
            and task.task_id not in skipped
            and not lost.isdisjoint(task.depends_on)
        ]
        for task in hit:
            ended = {"status": TaskStatus.SKIPPED, "finished_at": at}
            skipped[task.task_id] = task.changed(ended)
        lost = {task.task_id for task in hit}
    return _replace(state, skipped.values()) if skipped else state


def _release(state: WorkflowState, at: datetime) -> WorkflowState:
    if gates.is_closed(state):
        return state
    over = {t.task_id for t in state.tasks if t.status not in OPEN}
    ready = [
        released(task, at)
        for task in state.tasks
        if task.status == TaskStatus.PENDING and over.issuperset(task.depends_on)
    ]
    if ready:
        state = _replace(state, ready)
    if state.status == WorkflowStatus.ACCEPTED and any(
        t.status == TaskStatus.ASSIGNED for t in ready
    ):
        state = state.changed({"status": WorkflowStatus.RUNNING})
    return state


def _verdict(state: WorkflowState) -> tuple[WorkflowStatus, Failure | None]:
    failure = next((t.failure for t in state.tasks if t.status == TaskStatus.FAILED), None)
    if not missing(state):
        return WorkflowStatus.COMPLETED, None
    if any(task.status == TaskStatus.SUCCEEDED for task in state.tasks):
        return WorkflowStatus.PARTIAL, failure
    return WorkflowStatus.FAILED, failure


def end(
    state: WorkflowState, at: datetime, status: WorkflowStatus, failure: Failure | None
) -> WorkflowState:
    """The row of a workflow that has ended; what was still open in it is cancelled."""
    stopped = {"status": TaskStatus.CANCELLED, "finished_at": at, "due_at": None}
    left = [task.changed(stopped) for task in state.tasks if task.status in OPEN]
    ended = {"status": status, "failure": failure, "ended_at": at, "updated_at": at}
    return _replace(state, left).changed(ended)
