"""Retry, back-off and deadline rules."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from crewstream.contracts.events import Failure, TaskState, WorkflowState, WorkflowStatus
from crewstream.domain import gates

DEFAULT_MAX_ATTEMPTS = 3
DEFAULT_TIMEOUT_S = 3600.0
BACKOFF_FIRST_S = 1.0
BACKOFF_MOST_S = 60.0
MOST_RETRY_AFTER_S = 24 * 3600.0
DEFAULT_APPROVAL_TIMEOUT_S = 7 * 24 * 3600.0
# How long the row of an ended workflow is kept: so long does its id stay an idempotency key.
RETENTION = timedelta(days=7)

TIMED_OUT = Failure(
    error_type="task.timeout", message="no worker ended the attempt in time", retryable=True
)
NOBODY_ANSWERED = Failure(
    error_type="approval.timeout", message="nobody approved or rejected the task in time"
)
UNKNOWN_OUTCOME = "tool.unknown_outcome"
"""An external call was begun, and nobody knows whether it was done: a person decides."""
INPUT_WANTED = "human.input_wanted"
"""A crew asks a person: it has not failed, and goes on once it is answered."""

# After these the same answers would only lead to the same end: the next attempt asks anew.
_SPOILT = frozenset(
    {
        "crew.failed",
        "guardrail.failed",
        "llm.context_exceeded",
        "llm.empty_answer",
        "output.invalid",
        "output.too_large",
    }
)

DEADLINE_PASSED = Failure(
    error_type="workflow.deadline_exceeded", message="the workflow's deadline has passed"
)


def assignment_id(workflow_id: str, task_id: str, attempt: int) -> str:
    """The name of one attempt at a task."""
    return f"{workflow_id}/{task_id}/{attempt}"


def may_retry(task: TaskState, failure: Failure) -> bool:
    """Whether another attempt may help, and is allowed."""
    return failure.retryable and task.attempt < task.max_attempts


def continues(failure: Failure | None) -> bool:
    """Whether the next attempt goes on from what the failed one has paid for already."""
    return failure is not None and failure.error_type not in _SPOILT


def backoff_s(assignment: str, attempt: int, retry_after_s: float | None) -> float:
    """Seconds until the next attempt: exponential, half to one and a half times the step.

    The jitter is a function of the assignment id, so that a replayed event schedules the same
    time. A source that says when it can be asked again (`retry_after_s`) is never asked earlier.
    """
    step = min(BACKOFF_MOST_S, BACKOFF_FIRST_S * 2.0 ** (attempt - 1))
    digest = hashlib.blake2b(assignment.encode(), digest_size=4).digest()
    jitter = 0.5 + int.from_bytes(digest) / 2**32
    asked_s = retry_after_s or 0.0
    # Whatever a source says: a day at most, and NaN is nothing.
    return max(step * jitter, asked_s if 0 <= asked_s <= MOST_RETRY_AFTER_S else 0.0)


def next_due(state: WorkflowState) -> datetime | None:
    """When the row wants to be looked at again: a deadline, a retry, a gate, its own end."""
    if state.ended_at is not None:
        return state.ended_at + RETENTION
    dues = [task.due_at for task in state.tasks if task.due_at is not None]
    if (gate := gates.next_due(state)) is not None:
        dues.append(gate)
    if state.deadline_at is not None:
        dues.append(state.deadline_at)
    return min(dues, default=None)


def is_ended(status: WorkflowStatus) -> bool:
    """Whether nothing more happens to a workflow by itself."""
    return status in _ENDED


_ENDED = frozenset(
    {
        WorkflowStatus.COMPLETED,
        WorkflowStatus.PARTIAL,
        WorkflowStatus.FAILED,
        WorkflowStatus.CANCELLED,
        WorkflowStatus.REJECTED,
    }
)
