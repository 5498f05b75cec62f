"""What the tasks that a task depends on have brought it: outputs, and CrewAI's own context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crewstream.contracts.events import (
    TaskFinished,
    TaskState,
    TaskStatus,
    UpstreamOutput,
    WorkflowRequested,
    WorkflowState,
)


def brought(
    state: WorkflowState,
    request: WorkflowRequested,
    task: TaskState,
    results: Mapping[str, TaskFinished],
) -> tuple[UpstreamOutput, ...]:
    """One output for each dependency; the parts of a crew that was cut are one for other tasks.

    For its own parts they are context, each by itself. `results` holds those of the dependencies.
    """
    if not task.depends_on:
        return ()
    part_of = {each.task_id: each.part_of for each in request.tasks if each.part_of}
    own = part_of.get(task.task_id)
    groups: dict[str, list[TaskState]] = {}
    tasks = {each.task_id: each for each in state.tasks}
    for name in task.depends_on:
        whole = part_of.get(name, name)
        groups.setdefault(name if whole == own else whole, []).append(tasks[name])
    return tuple(
        _context(parts[0], results)
        if part_of.get(parts[0].task_id, "") == own
        else _output(name, parts, results)
        for name, parts in groups.items()
    )


def outcome(results: Sequence[TaskFinished]) -> TaskFinished | None:
    """Of the results of a crew's parts, in order, the one that is the crew's: CrewAI's own rule."""
    said = [each for each in results if each.output]
    return next(reversed(said or list(results)), None)


def _context(task: TaskState, results: Mapping[str, TaskFinished]) -> UpstreamOutput:
    plain = _output(task.task_id, [task], results)
    result = results.get(task.task_id)
    crew = result.crew_output if result is not None else None
    raw = crew.raw if crew is not None and crew.raw != plain.output else ""
    return plain.changed({"raw": raw, "task_type": task.task_type, "context": True})


def _output(
    name: str, parts: Sequence[TaskState], results: Mapping[str, TaskFinished]
) -> UpstreamOutput:
    """As a whole crew would bring it."""
    last = outcome([results[part.task_id] for part in parts if part.task_id in results])
    lost = [part.status for part in parts if part.status != TaskStatus.SUCCEEDED]
    return UpstreamOutput(
        task_id=name,
        status=lost[-1] if lost else TaskStatus.SUCCEEDED,
        output=last.output if last is not None else "",
        output_json=last.output_json if last is not None else None,
    )
