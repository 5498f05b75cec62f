"""How fine a crew is cut: one task of the workflow, or one for each of the crew's own tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from crewstream.contracts.events import (
    Coordination,
    CrewDescribed,
    Fault,
    Grain,
    TaskRequest,
    WorkflowRequested,
)
from crewstream.domain.names import TASK_ID


@dataclass(frozen=True, slots=True)
class CrewShape:
    """A crew's own tasks in CrewAI's order, each with those whose outputs are its context.

    `kind` is crew or flow, `process` sequential or hierarchical.
    """

    tasks: Mapping[str, tuple[str, ...]]
    kind: str = "crew"
    process: str = "sequential"

    @property
    def why_whole(self) -> str:
        """Why it cannot be cut; empty when it can."""
        if self.kind != "crew":
            return f"it is a {self.kind}: its steps are its own code"
        if self.process != "sequential":
            return f"its process is {self.process}: who does what is decided while it runs"
        seen: set[str] = set()
        for name, depends_on in self.tasks.items():
            if not seen.issuperset(depends_on):
                return f"its task {name!r} is described as one that depends on a later task"
            seen.add(name)
        return "" if seen else "no task of it is described"


Shapes = Mapping[str, Mapping[str, CrewShape]]
"""Of each project that workers have announced, its crews."""


def shape_of(crew: CrewDescribed) -> CrewShape:
    """How a crew can be cut, as its workers have announced it."""
    tasks = {task.task_type: task.depends_on for task in crew.tasks}
    return CrewShape(tasks, crew.kind, crew.process)


def is_cut(task: TaskRequest) -> bool:
    """Whether a task is asked for as those of its crew; a single one of them is not cut further."""
    return task.grain == Grain.TASKS and not task.task_type


def is_to_be_cut(request: WorkflowRequested) -> bool:
    """Whether a request is kept otherwise than it came; nobody else says what is a part."""
    return any(is_cut(task) or task.part_of for task in request.tasks)


def faults(request: WorkflowRequested, shapes: Shapes, max_tasks: int) -> Iterator[Fault]:
    """What keeps the crews of a request from being cut as it asks."""
    if not any(map(is_cut, request.tasks)):
        return
    names = {task.task_id for task in request.tasks}
    count = len(request.tasks)
    for number, task in enumerate(request.tasks):
        if not is_cut(task):
            continue
        path = f"tasks[{number}].grain"
        crews = shapes.get(task.project_id or request.project_id)
        if crews is None:
            message = "no worker has announced this project yet, so its crews cannot be cut"
            yield Fault(code="task.unknown_shape", path=path, message=message)
        elif (shape := crews.get(task.crew)) is not None:  # else it is an unknown crew
            yield from _shape_faults(task, shape, path, names)
            count += len(shape.tasks) - 1
    if count > max_tasks:
        message = f"{count} tasks once crews are cut; at most {max_tasks} are taken"
        yield Fault(code="tasks.too_many", path="tasks", message=message)


def too_large(error: Exception) -> Fault:
    """The fault of a request that no record can take once its crews are cut."""
    message = f"{error}: each part has the inputs of its task; put them into the workflow's"
    return Fault(code="inputs.too_large", path="tasks", message=message)


def cut(
    request: WorkflowRequested, shapes: Shapes, before: Sequence[Sequence[str]]
) -> WorkflowRequested:
    """The same request with each task that is to be cut replaced by those of its crew.

    `before` has what each task depends on. A part is named `task_id.name` and depends on what the
    task depended on, and on the parts that are its context; what depended on the task depends on
    all of its parts. The request has no faults.
    """
    shape = {
        task.task_id: shapes[task.project_id or request.project_id][task.crew]
        for task in request.tasks
        if is_cut(task)
    }
    parts = {
        task_id: [f"{task_id}.{name}" for name in each.tasks] for task_id, each in shape.items()
    }
    tasks: list[TaskRequest] = []
    for task, earlier in zip(request.tasks, before, strict=True):
        depends_on = tuple(part for name in earlier for part in parts.get(name, [name]))
        whole = task.changed({"depends_on": depends_on, "part_of": ""})
        own = shape.get(task.task_id)
        tasks += [whole] if own is None else _parts(whole, own)
    return request.changed({"tasks": tuple(tasks), "coordination": Coordination.DEPENDENCIES})


def parts_of(request: WorkflowRequested, task_id: str) -> list[str]:
    """The tasks that a task of a request was cut into, in order; else it alone."""
    return [each.task_id for each in request.tasks if each.part_of == task_id] or [task_id]


def _parts(task: TaskRequest, shape: CrewShape) -> Iterator[TaskRequest]:
    final = list(shape.tasks)[-1]
    for name, context in shape.tasks.items():
        own = (f"{task.task_id}.{each}" for each in context)
        yield task.changed(
            {
                "task_id": f"{task.task_id}.{name}",
                "task_type": name,
                "part_of": task.task_id,
                "depends_on": (*task.depends_on, *own),
                # What a request expects is the crew's result, which its last task brings; and a
                # whole crew chooses its own agents.
                "expected_output": task.expected_output if name == final else "",
                "agent": "",
                # People are asked before the crew begins, not before each of its tasks.
                "requires_approval": task.requires_approval and not context,
            }
        )


def _shape_faults(
    task: TaskRequest, shape: CrewShape, path: str, names: set[str]
) -> Iterator[Fault]:
    if why := shape.why_whole:
        message = f"crew {task.crew!r} runs as a whole only: {why}"
        yield Fault(code="task.not_divisible", path=path, message=message)
        return
    for part in (f"{task.task_id}.{name}" for name in shape.tasks):
        if not TASK_ID.fullmatch(part):
            message = f"{part!r}, a part of it, would be no task_id: choose a shorter one"
            yield Fault(code="task.invalid_id", path=path, message=message)
        elif part in names:
            message = f"{part!r}, a part of it, names another task already"
            yield Fault(code="task.duplicate_id", path=path, message=message)
        names.add(part)
