"""What a queued assignment is to the window, and its place among those of its tenant."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from crewstream.contracts.events import Priority, TaskAssigned
from crewstream.domain.ranked import Rank

AGEING_S = 60.0
"""So much longer has a job waited that overtakes one of the next higher priority."""
STARTED_LEVELS = 0.5
"""What work of a started workflow is ahead of a new one's: half a step of priority."""
MOST_STEPS = 10
"""A workflow that is older by more steps of ageing, say after an approval, gains no more by it."""

_LEVELS = {Priority.LOW: -1, Priority.NORMAL: 0, Priority.HIGH: 1, Priority.URGENT: 2}


@dataclass(frozen=True, slots=True)
class Job:
    """What the choice needs to know of an assignment. Of jobs with one `key`, one runs at a time.

    Two jobs of one project may share a key, jobs of two projects never do.
    """

    name: str
    tenant_id: str
    project_id: str
    workflow_id: str
    key: str
    assigned_at: datetime
    accepted_at: datetime
    priority: Priority = Priority.NORMAL
    started: bool = False
    crew: str = ""


def job_of(task: TaskAssigned) -> Job:
    """The job of an assignment; attempts at one task share a key, whatever else the task says."""
    own, given = f"task {task.workflow_id}/{task.task_id}", f"key {task.concurrency_key}"
    return Job(
        name=task.assignment_id,
        tenant_id=task.tenant_id,
        project_id=task.project_id,
        workflow_id=task.workflow_id,
        key=given if task.concurrency_key else own,
        assigned_at=task.assigned_at,
        accepted_at=task.accepted_at or task.assigned_at,
        priority=task.priority,
        started=task.started,
        crew=task.crew,
    )


def rank(job: Job, ageing_s: float) -> Rank:
    """The order within a tenant: what waits longest, each step of priority being `ageing_s` of it.

    A workflow waits since it was accepted, so what is begun is ended before new work begins. The
    difference of two ranks does not change with time, which is why a heap can hold them.
    """
    assigned_s = job.assigned_at.timestamp()
    since_s = max(job.accepted_at.timestamp(), assigned_s - MOST_STEPS * ageing_s)
    level = _LEVELS[job.priority] + STARTED_LEVELS * job.started
    return (since_s - level * ageing_s, assigned_s)
