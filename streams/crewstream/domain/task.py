"""The life of one task: released, tried, tried again, waiting for a person, over."""

from __future__ import annotations

from datetime import datetime, timedelta

from crewstream.contracts.events import (
    ApprovalDefault,
    Failure,
    Outcome,
    TaskFinished,
    TaskState,
    TaskStatus,
)
from crewstream.domain import policy

OPEN = frozenset(
    {TaskStatus.PENDING, TaskStatus.ASSIGNED, TaskStatus.WAITING_RETRY, TaskStatus.WAITING_APPROVAL}
)


def released(task: TaskState, at: datetime) -> TaskState:
    """The task when all that it depends on is over: assigned, or waiting for approval."""
    if task.requires_approval:
        return _ask(task, at)
    goes_on = task.attempt > 0 and policy.continues(task.failure)
    assigned = {
        "status": TaskStatus.ASSIGNED,
        "attempt": task.attempt + 1,
        "journal_attempt": (task.journal_attempt or task.attempt) if goes_on else 0,
        # What was said about one draft is no answer to another one.
        "answers": task.answers if goes_on else (),
        "assigned_at": at,
        "finished_at": None,
        "due_at": at + timedelta(seconds=task.timeout_s),
    }
    return task.changed(assigned)


def unexplained(result: TaskFinished) -> Failure:
    """The failure of a result that names none."""
    # A worker that was stopped hands an attempt back as cancelled: it may be tried again.
    handed_back = result.status == Outcome.CANCELLED
    kind = "task.cancelled" if handed_back else "task.failed"
    return Failure(error_type=kind, message="no reason was given", retryable=handed_back)


def failed(workflow_id: str, task: TaskState, failure: Failure, at: datetime) -> TaskState:
    """The task when an attempt failed: tried again later, waiting for a person, or over."""
    if failure.error_type == policy.UNKNOWN_OUTCOME:
        return _ask(task, at).changed({"failure": failure, "repeat_unknown": False})
    if failure.error_type == policy.INPUT_WANTED:
        return _ask(task, at).changed({"failure": failure})
    if not policy.may_retry(task, failure):
        ended = {"status": TaskStatus.FAILED, "finished_at": at, "failure": failure, "due_at": None}
        return task.changed(ended)
    name = policy.assignment_id(workflow_id, task.task_id, task.attempt)
    wait_s = policy.backoff_s(name, task.attempt, failure.retry_after_s)
    due = at + timedelta(seconds=wait_s)
    waiting = {"status": TaskStatus.WAITING_RETRY, "failure": failure, "due_at": due}
    return task.changed(waiting)


def overdue(workflow_id: str, task: TaskState, due: datetime) -> TaskState:
    """The task when its timer was due."""
    if task.status == TaskStatus.ASSIGNED:
        return failed(workflow_id, task, policy.TIMED_OUT, due)
    if task.status == TaskStatus.WAITING_APPROVAL:
        return _unanswered(task, due)
    return task.changed({"status": TaskStatus.PENDING, "due_at": None})


def _ask(task: TaskState, at: datetime) -> TaskState:
    """The task waits for a person."""
    wait_s = task.approval_timeout_s or policy.DEFAULT_APPROVAL_TIMEOUT_S
    due = at + timedelta(seconds=wait_s)
    return task.changed({"status": TaskStatus.WAITING_APPROVAL, "due_at": due})


def _unanswered(task: TaskState, at: datetime) -> TaskState:
    if task.approval_default == ApprovalDefault.APPROVE and not is_doubtful(task):
        return granted(task)
    why = task.failure if is_doubtful(task) else policy.NOBODY_ANSWERED
    return task.changed(
        {"status": TaskStatus.FAILED, "finished_at": at, "failure": why, "due_at": None}
    )


def is_doubtful(task: TaskState) -> bool:
    """Whether it waits because nobody knows if an external call of it was done."""
    return task.failure is not None and task.failure.error_type == policy.UNKNOWN_OUTCOME


def is_asking(task: TaskState) -> bool:
    """Whether it waits because its crew asks a person something."""
    return task.failure is not None and task.failure.error_type == policy.INPUT_WANTED


def granted(task: TaskState, feedback: str = "") -> TaskState:
    """The task when a person allows it: to run, to repeat the call of unknown outcome, to go on.

    `feedback` is the answer to a crew that asks; empty: the person is content.
    """
    allowed: dict[str, object] = {"status": TaskStatus.PENDING, "due_at": None}
    if is_asking(task):
        # The attempt that asked has not failed, so it is none of those that may.
        answered = {"answers": (*task.answers, feedback), "max_attempts": task.max_attempts + 1}
        return task.changed({**allowed, **answered})
    if is_doubtful(task):
        most = max(task.max_attempts, task.attempt + 1)
        return task.changed({**allowed, "repeat_unknown": True, "max_attempts": most})
    return task.changed({**allowed, "requires_approval": False})
