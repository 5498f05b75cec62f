"""What must go out because of a transition of a workflow: steps, in order."""

from __future__ import annotations

from dataclasses import dataclass

from crewstream.contracts.events import Admission, TaskState, TaskStatus, WorkflowState
from crewstream.domain import gates, policy


@dataclass(frozen=True, slots=True)
class Assign:
    """Send this attempt to the workers of its project."""

    task: TaskState


@dataclass(frozen=True, slots=True)
class End:
    """Tell everybody how the workflow ended."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Tell the workers that this attempt is not wanted any more."""

    task: TaskState


@dataclass(frozen=True, slots=True)
class Watch:
    """Ask the row of another workflow to tell when it ends."""

    workflow_id: str


@dataclass(frozen=True, slots=True)
class Unwatch:
    """Its end is not of interest any more."""

    workflow_id: str


@dataclass(frozen=True, slots=True)
class Enter:
    """Ask for a place in the tenant's limits."""


@dataclass(frozen=True, slots=True)
class Leave:
    """Give the place, or the wish for one, back."""


Step = Assign | Cancel | Watch | Unwatch | Enter | Leave | End


def decide(before: WorkflowState | None, after: WorkflowState, done: str = "") -> tuple[Step, ...]:
    """What must go out because of a transition, in order.

    `done` is the task whose attempt ended by itself: nobody has to be told to let go of it.
    """
    known = {} if before is None else {task.task_id: task for task in before.tasks}
    steps: list[Step] = []
    for task in after.tasks:
        earlier = known.get(task.task_id)
        if task.status == TaskStatus.ASSIGNED and (
            earlier is None or earlier.attempt != task.attempt
        ):
            steps.append(Assign(task))
        if earlier is not None and task.task_id != done and _let_go(earlier, task):
            steps.append(Cancel(earlier))
    if after.after or after.admission != Admission.UNLIMITED:
        steps += _gate_steps(before, after)
    if policy.is_ended(after.status) and not _has_ended(before):
        steps.append(End())
    return tuple(steps)


def _let_go(before: TaskState, after: TaskState) -> bool:
    """Whether an attempt under way is not awaited any more."""
    same = after.status == TaskStatus.ASSIGNED and after.attempt == before.attempt
    return before.status == TaskStatus.ASSIGNED and not same


def _gate_steps(before: WorkflowState | None, after: WorkflowState) -> list[Step]:
    begins = before is None or _has_ended(before)
    if policy.is_ended(after.status):
        if begins:
            return []
        steps: list[Step] = [Unwatch(each.workflow_id) for each in gates.unresolved(after)]
        return steps if after.admission == Admission.UNLIMITED else [*steps, Leave()]
    steps = [Watch(each.workflow_id) for each in gates.unresolved(after)] if begins else []
    if _wants_in(after) and (begins or before is None or not _wants_in(before)):
        steps.append(Enter())
    return steps


def _wants_in(state: WorkflowState) -> bool:
    return state.admission == Admission.WAITING and not gates.is_held(state)


def _has_ended(state: WorkflowState | None) -> bool:
    return state is not None and policy.is_ended(state.status)
