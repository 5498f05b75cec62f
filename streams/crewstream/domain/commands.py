"""What people ask of a workflow: each command acts once, or is refused with a reason."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from crewstream.contracts.events import (
    Admission,
    Command,
    Failure,
    TaskState,
    TaskStatus,
    WorkflowCommanded,
    WorkflowState,
    WorkflowStatus,
)
from crewstream.domain.policy import DEFAULT_MAX_ATTEMPTS
from crewstream.domain.task import granted, is_asking
from crewstream.domain.workflow import advance, end, find_task, settle, stamp

REMEMBERED_COMMANDS = 32
MOST_FEEDBACK = 4_000
"""Characters of one answer to a crew."""


def command(state: WorkflowState, asked: WorkflowCommanded, at: datetime) -> WorkflowState:
    """Apply a command once; one that makes no sense now leaves a notice that says why."""
    if asked.command_id in state.applied:
        return state
    applied = (*state.applied, asked.command_id)[-REMEMBERED_COMMANDS:]
    state = state.changed({"applied": applied, "notice": ""})
    refusal = _refusal(state, asked)
    if refusal:
        notice = f"{asked.command} {asked.command_id} refused: {refusal}"
        return stamp(state, at, {"notice": notice})
    return _COMMANDS[asked.command](state, asked, at)


def _refusal(state: WorkflowState, asked: WorkflowCommanded) -> str:
    """Why a command makes no sense in this state; empty when it does."""
    if asked.tenant_id and asked.tenant_id != state.tenant_id:
        return "the workflow belongs to another tenant"
    if asked.command in {Command.APPROVE, Command.REJECT}:
        task = find_task(state, asked.task_id)
        if task is None:
            return f"there is no task {asked.task_id!r}"
        if task.status != TaskStatus.WAITING_APPROVAL:
            return f"task {task.task_id!r} is {task.status}, not waiting for it"
        return _feedback_refusal(task, asked.feedback)
    wanted = _SENSIBLE.get(asked.command)
    if wanted is None:
        return "the command is not known"
    return "" if state.status in wanted else f"the workflow is {state.status}"


def _feedback_refusal(task: TaskState, feedback: str) -> str:
    """Why what a person says cannot be taken; it is kept in the row, which stays small."""
    if feedback and not is_asking(task):
        return f"task {task.task_id!r} waits to be allowed, and asks for no feedback"
    if len(feedback) > MOST_FEEDBACK:
        return f"feedback of {len(feedback)} characters; at most {MOST_FEEDBACK} are taken"
    return ""


_SENSIBLE: dict[Command, frozenset[WorkflowStatus]] = {
    Command.PAUSE: frozenset({WorkflowStatus.ACCEPTED, WorkflowStatus.RUNNING}),
    Command.RESUME: frozenset({WorkflowStatus.PAUSED}),
    Command.CANCEL: frozenset(
        {WorkflowStatus.ACCEPTED, WorkflowStatus.RUNNING, WorkflowStatus.PAUSED}
    ),
    Command.RETRY: frozenset(
        {WorkflowStatus.PARTIAL, WorkflowStatus.FAILED, WorkflowStatus.CANCELLED}
    ),
}


def _pause(state: WorkflowState, _asked: WorkflowCommanded, at: datetime) -> WorkflowState:
    return stamp(state, at, {"status": WorkflowStatus.PAUSED})


def _resume(state: WorkflowState, _asked: WorkflowCommanded, at: datetime) -> WorkflowState:
    started = any(task.attempt for task in state.tasks)
    status = WorkflowStatus.RUNNING if started else WorkflowStatus.ACCEPTED
    return settle(stamp(state, at, {"status": status}), at)


def _cancel(state: WorkflowState, asked: WorkflowCommanded, at: datetime) -> WorkflowState:
    why = Failure(error_type="workflow.cancelled", message=asked.reason or "cancelled by command")
    return end(stamp(state, at), at, WorkflowStatus.CANCELLED, why)


def _retry(state: WorkflowState, _asked: WorkflowCommanded, at: datetime) -> WorkflowState:
    again = [
        task.changed(
            {
                "status": TaskStatus.PENDING,
                "max_attempts": task.attempt + DEFAULT_MAX_ATTEMPTS,
                "finished_at": None,
            }
        )
        for task in state.tasks
        if task.status != TaskStatus.SUCCEEDED
    ]
    # A deadline that has passed must not end the second life at once; whoever retries does not
    # wait for other workflows again.
    limited = state.admission != Admission.UNLIMITED
    fresh = {
        "status": WorkflowStatus.ACCEPTED if limited else WorkflowStatus.RUNNING,
        "admission": Admission.WAITING if limited else Admission.UNLIMITED,
        "ended_at": None,
        "failure": None,
        "deadline_at": None,
        "after_due_at": None,
        "after": tuple(each for each in state.after if each.status != WorkflowStatus.UNKNOWN),
    }
    return advance(state.changed(fresh), at, again)


def _approve(state: WorkflowState, asked: WorkflowCommanded, at: datetime) -> WorkflowState:
    return advance(state, at, [granted(task, asked.feedback) for task in _named(state, asked)])


def _reject(state: WorkflowState, asked: WorkflowCommanded, at: datetime) -> WorkflowState:
    why = Failure(error_type="approval.rejected", message=asked.reason or "rejected by command")
    ended = {"status": TaskStatus.FAILED, "finished_at": at, "failure": why, "due_at": None}
    return advance(state, at, [t.changed(ended) for t in _named(state, asked)])


def _named(state: WorkflowState, asked: WorkflowCommanded) -> list[TaskState]:
    return [task for task in state.tasks if task.task_id == asked.task_id]


_COMMANDS: dict[Command, Callable[[WorkflowState, WorkflowCommanded, datetime], WorkflowState]] = {
    Command.PAUSE: _pause,
    Command.RESUME: _resume,
    Command.CANCEL: _cancel,
    Command.RETRY: _retry,
    Command.APPROVE: _approve,
    Command.REJECT: _reject,
}
