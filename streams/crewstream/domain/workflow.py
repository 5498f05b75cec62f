"""The state machine of one workflow: what an event makes of it, and what follows from that."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from crewstream.contracts.events import (
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
from crewstream.domain import policy
from crewstream.domain.plan import tasks_of

OPEN = frozenset(
    {TaskStatus.PENDING, TaskStatus.ASSIGNED, TaskStatus.WAITING_RETRY, TaskStatus.WAITING_APPROVAL}
)


@dataclass(frozen=True, slots=True)
class Assign:
    """Send this attempt to the workers of its project."""

    task: TaskState


@dataclass(frozen=True, slots=True)
class End:
    """Tell everybody how the workflow ended."""


def accept(
    request: WorkflowRequested, faults: tuple[Fault, ...], at: datetime, digest: str, trace: str
) -> WorkflowState:
    """The first row of a workflow: its first tasks assigned, or rejected with every fault."""
    state = WorkflowState(
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
    )
    return state if faults else settle(state, at)


def _deadline(request: WorkflowRequested, at: datetime) -> datetime | None:
    return at + timedelta(seconds=request.deadline_s) if request.deadline_s else None


def finish_task(state: WorkflowState, result: TaskFinished, at: datetime) -> WorkflowState:
    """Apply how an attempt ended; the same state when it is not the attempt that is awaited."""
    task = find_task(state, result.task_id)
    if task is None or not _awaits(state, task, result.attempt):
        return state
    task = task.model_copy(
        update={"agent": result.agent, "usage": add(task.usage, result.usage), "due_at": None}
    )
    if result.status == Outcome.SUCCEEDED:
        ended = {"status": TaskStatus.SUCCEEDED, "finished_at": at, "failure": None}
        task = task.changed(ended)
    else:
        task = _attempt_failed(state, task, result.failure or _unexplained(result), at)
    state = state.changed({"usage": add(state.usage, result.usage)})
    return advance(state, at, [task])


def fire_timer(state: WorkflowState, due: datetime) -> WorkflowState | None:
    """Apply all that was due by `due`; None when the row has outlived its retention."""
    if state.ended_at is not None:
        return None if state.ended_at + policy.RETENTION <= due else state
    if state.deadline_at is not None and state.deadline_at <= due:
        return end(stamp(state, due), due, WorkflowStatus.FAILED, policy.DEADLINE_PASSED)
    late = [task for task in state.tasks if task.due_at is not None and task.due_at <= due]
    return advance(state, due, [_task_due(state, task, due) for task in late]) if late else state


def decide(before: WorkflowState | None, after: WorkflowState) -> tuple[Assign | End, ...]:
    """What must go out because of a transition: new assignments in order, or the end."""
    known = {} if before is None else {task.task_id: task for task in before.tasks}
    outputs: list[Assign | End] = [
        Assign(task)
        for task in after.tasks
        if task.status == TaskStatus.ASSIGNED
        and (task.task_id not in known or known[task.task_id].attempt != task.attempt)
    ]
    if policy.is_ended(after.status) and not (before and policy.is_ended(before.status)):
        outputs.append(End())
    return tuple(outputs)


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


def _unexplained(result: TaskFinished) -> Failure:
    # A worker that was stopped hands an attempt back as cancelled: it may be tried again.
    handed_back = result.status == Outcome.CANCELLED
    kind = "task.cancelled" if handed_back else "task.failed"
    return Failure(error_type=kind, message="no reason was given", retryable=handed_back)


def _attempt_failed(
    state: WorkflowState, task: TaskState, failure: Failure, at: datetime
) -> TaskState:
    if not policy.may_retry(task, failure):
        ended = {"status": TaskStatus.FAILED, "finished_at": at, "failure": failure, "due_at": None}
        return task.changed(ended)
    name = policy.assignment_id(state.workflow_id, task.task_id, task.attempt)
    wait_s = policy.backoff_s(name, task.attempt, failure.retry_after_s)
    due = at + timedelta(seconds=wait_s)
    waiting = {"status": TaskStatus.WAITING_RETRY, "failure": failure, "due_at": due}
    return task.changed(waiting)


def _task_due(state: WorkflowState, task: TaskState, due: datetime) -> TaskState:
    if task.status == TaskStatus.ASSIGNED:
        return _attempt_failed(state, task, policy.TIMED_OUT, due)
    return task.changed({"status": TaskStatus.PENDING, "due_at": None})


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
    over = {t.task_id for t in state.tasks if t.status not in OPEN}
    ready = [
        _released(task, at)
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


def _released(task: TaskState, at: datetime) -> TaskState:
    if task.requires_approval:
        return task.changed({"status": TaskStatus.WAITING_APPROVAL})
    assigned = {
        "status": TaskStatus.ASSIGNED,
        "attempt": task.attempt + 1,
        "assigned_at": at,
        "finished_at": None,
        "due_at": at + timedelta(seconds=task.timeout_s),
    }
    return task.changed(assigned)


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
