"""A request becomes a checked task graph, or the list of all that is wrong with it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from crewstream.contracts.events import (
    Coordination,
    Fault,
    TaskRequest,
    TaskState,
    TaskStatus,
    WorkflowRequested,
)
from crewstream.contracts.limits import NO_LIMITS, Limits
from crewstream.contracts.record import trusted
from crewstream.domain import gates, grain
from crewstream.domain.input_faults import input_faults, reference_faults
from crewstream.domain.names import MOST_NAME, MOST_S, TASK_ID, WORKFLOW_ID
from crewstream.domain.policy import DEFAULT_MAX_ATTEMPTS, DEFAULT_TIMEOUT_S

MOST_FAULTS = 100
MOST_KNOWN = 20

Crews = Mapping[str, frozenset[str]]
"""The crews of a project, each with its task types."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a request is held against.

    `projects` maps each project to its crews, or to None while no worker has announced them:
    then the request is taken, and waits for one. `shapes` has how crews can be cut.
    """

    projects: Mapping[str, Crews | None] = field(default_factory=dict)
    shapes: grain.Shapes = field(default_factory=dict, kw_only=True)
    limits: Limits = NO_LIMITS
    max_tasks: int = 1000
    max_inputs_bytes: int = 1024 * 1024


def faults(request: WorkflowRequested, rules: Rules, topic_project: str) -> tuple[Fault, ...]:
    """Everything that is wrong with a request; empty when it can run. At most 100 are listed."""
    found: list[Fault] = []
    for fault in _all_faults(request, rules, topic_project):
        if len(found) == MOST_FAULTS:
            message = f"there are more than {MOST_FAULTS} faults; the rest is not listed"
            found.append(Fault(code="workflow.more_faults", message=message))
            break
        found.append(fault)
    return tuple(found)


def cut(request: WorkflowRequested, rules: Rules) -> WorkflowRequested:
    """A request without faults, with crews cut into tasks where it asks for that."""
    if not grain.is_to_be_cut(request):
        return request
    before = [_dependencies(request, number) for number in range(len(request.tasks))]
    return grain.cut(request, rules.shapes, before)


def tasks_of(request: WorkflowRequested) -> tuple[TaskState, ...]:
    """The tasks of a request without faults, pending, each with what it depends on."""
    return tuple(
        trusted(TaskState)(
            task_id=task.task_id,
            project_id=task.project_id or request.project_id,
            crew=task.crew,
            task_type=task.task_type,
            status=TaskStatus.PENDING,
            max_attempts=task.max_attempts or DEFAULT_MAX_ATTEMPTS,
            timeout_s=task.timeout_s or DEFAULT_TIMEOUT_S,
            requires_approval=task.requires_approval,
            approval_timeout_s=task.approval_timeout_s,
            approval_default=task.approval_default,
            concurrency_key=task.concurrency_key,
            depends_on=_dependencies(request, number),
        )
        for number, task in enumerate(request.tasks)
    )


def _dependencies(request: WorkflowRequested, number: int) -> tuple[str, ...]:
    if request.coordination == Coordination.DEPENDENCIES:
        return tuple(dict.fromkeys(request.tasks[number].depends_on))
    if request.coordination == Coordination.SEQUENTIAL and number:
        return (request.tasks[number - 1].task_id,)
    return ()


def _ancestors(request: WorkflowRequested) -> Mapping[str, frozenset[str]]:
    """Of each task, all that must end before it. What waits for itself has no end, and none here.

    Asked only of requests that refer to outputs, for those of others nothing is computed.
    """
    direct = {
        task.task_id: _dependencies(request, number) for number, task in enumerate(request.tasks)
    }
    found: dict[str, frozenset[str]] = {}
    for start, nearest in direct.items():
        seen: set[str] = set()
        stack = [*nearest]
        while stack:
            name = stack.pop()
            if name not in seen:
                seen.add(name)
                stack.extend(found.get(name) or direct.get(name, ()))
        found[start] = frozenset(seen)
    return found


def shortened(request: WorkflowRequested, workflow_id: str) -> WorkflowRequested:
    """A rejected request under this id, with names no longer than names may be."""
    names = ("tenant_id", "project_id", "workflow_type")
    cut = {name: getattr(request, name)[:MOST_NAME] for name in names}
    return request.model_copy(update={"workflow_id": workflow_id, **cut})


def content_digest(request: WorkflowRequested) -> str:
    """A hash of what is asked; when it was asked does not make it another request."""
    text = request.model_dump_json(exclude={"requested_at"})
    return hashlib.sha256(text.encode()).hexdigest()


def find_cycle(edges: Mapping[str, Sequence[str]]) -> list[str]:
    """A cycle as the path that closes it ([a, b, a]), or an empty list.

    Depth-first search with three colours; iterative, since a chain may be as long as a request.
    """
    done: set[str] = set()
    for start in edges:
        path: list[str] = []
        on_path: set[str] = set()
        stack: list[tuple[str, bool]] = [(start, False)]
        while stack:
            node, leave = stack.pop()
            if leave:
                on_path.discard(path.pop())
                done.add(node)
            elif node in on_path:
                return [*path[path.index(node) :], node]
            elif node not in done:
                path.append(node)
                on_path.add(node)
                stack.append((node, True))
                stack.extend((n, False) for n in edges.get(node, ()) if n in edges)
    return []


def _all_faults(request: WorkflowRequested, rules: Rules, topic_project: str) -> Iterator[Fault]:
    yield from _workflow_faults(request, rules, topic_project)
    yield from input_faults(request.inputs, "inputs", rules.max_inputs_bytes)
    yield from gates.faults(request)
    count = len(request.tasks)
    if not count:
        yield Fault(code="tasks.empty", path="tasks", message="a workflow needs at least one task")
    if count > rules.max_tasks:
        message = f"{count} tasks; at most {rules.max_tasks} are taken: split the workflow"
        yield Fault(code="tasks.too_many", path="tasks", message=message)
        return
    for code, number, message in _id_faults(request.tasks):
        yield Fault(code=code, path=f"tasks[{number}].task_id", message=message)
    for number, task in enumerate(request.tasks):
        yield from _task_faults(task, f"tasks[{number}]", request, rules)
    yield from _graph_faults(request)
    yield from grain.faults(request, rules.shapes, rules.max_tasks)
    yield from reference_faults(request, lambda: _ancestors(request))


def _workflow_faults(
    request: WorkflowRequested, rules: Rules, topic_project: str
) -> Iterator[Fault]:
    if not WORKFLOW_ID.fullmatch(request.workflow_id):
        message = "give 1 to 200 characters without white space or slashes"
        yield Fault(code="workflow.invalid_id", path="workflow_id", message=message)
    if not request.tenant_id.strip():
        message = "name the customer on whose behalf the workflow runs"
        yield Fault(code="tenant.missing", path="tenant_id", message=message)
    if request.project_id not in rules.projects:
        yield _unknown("project", request.project_id, "project_id", rules.projects)
    elif request.project_id != topic_project:
        message = f"{request.project_id!r} was requested on the topic of {topic_project!r}"
        yield Fault(code="project.wrong_topic", path="project_id", message=message)
    if not 0 <= request.deadline_s <= MOST_S:  # nor NaN
        message = f"{request.deadline_s}: give seconds from acceptance, {MOST_S:.0f} at most, or 0"
        yield Fault(code="workflow.invalid_deadline", path="deadline_s", message=message)
    if request.max_tokens < 0 or not request.max_cost_usd >= 0:
        message = "max_tokens and max_cost_usd are more than 0, or 0 for no limit"
        yield Fault(code="workflow.invalid_budget", path="max_tokens", message=message)
    names = ("tenant_id", "project_id", "workflow_type", "schedule_id")
    yield from _name_faults(request, names, "")


def _id_faults(tasks: Sequence[TaskRequest]) -> Iterator[tuple[str, int, str]]:
    counts = Counter(task.task_id for task in tasks)
    seen: set[str] = set()
    for number, task in enumerate(tasks):
        if not TASK_ID.fullmatch(task.task_id):
            message = f"{task.task_id!r}: give 1 to 128 letters, digits, dots, dashes, underscores"
            yield "task.invalid_id", number, message
        if counts[task.task_id] > 1 and task.task_id in seen:
            yield "task.duplicate_id", number, f"{task.task_id!r} names another task already"
        seen.add(task.task_id)


def _task_faults(
    task: TaskRequest, path: str, request: WorkflowRequested, rules: Rules
) -> Iterator[Fault]:
    yield from input_faults(task.inputs, f"{path}.inputs", rules.max_inputs_bytes)
    project = task.project_id or request.project_id
    if project not in rules.projects:
        if task.project_id:  # else the workflow's own fault says it
            yield _unknown("project", project, f"{path}.project_id", rules.projects)
    elif (crews := rules.projects[project]) is not None:
        if task.crew not in crews:
            yield _unknown("crew", task.crew, f"{path}.crew", crews)
        elif task.task_type and task.task_type not in crews[task.crew]:
            yield _unknown("type", task.task_type, f"{path}.task_type", crews[task.crew])
    names = ("crew", "task_type", "agent", "concurrency_key")
    yield from _name_faults(task, names, f"{path}.")
    times_s = (task.timeout_s, task.approval_timeout_s)
    if task.max_attempts < 0 or not all(0 <= each <= MOST_S for each in times_s):
        message = (
            "max_attempts, timeout_s and approval_timeout_s are 0 (the default) or more,"
            f" {MOST_S:.0f} s at most"
        )
        yield Fault(code="task.invalid_limit", path=path, message=message)


def _graph_faults(request: WorkflowRequested) -> Iterator[Fault]:
    known = {task.task_id for task in request.tasks}
    for number, task in enumerate(request.tasks):
        if task.depends_on and request.coordination != Coordination.DEPENDENCIES:
            message = f"depends_on has no place in a {request.coordination} workflow"
            yield Fault(
                code="task.contradiction", path=f"tasks[{number}].depends_on", message=message
            )
        for place, dependency in enumerate(task.depends_on):
            if dependency not in known:
                path = f"tasks[{number}].depends_on[{place}]"
                yield _unknown("dependency", dependency, path, known)
    if not any(task.depends_on for task in request.tasks):
        return
    edges: dict[str, tuple[str, ...]] = {}
    for task in request.tasks:  # an id may be there twice: a fault of its own, named as well
        edges[task.task_id] = (*edges.get(task.task_id, ()), *task.depends_on)
    if cycle := find_cycle(edges):
        message = "tasks wait for one another: " + " -> ".join(cycle)
        yield Fault(code="tasks.cycle", path="tasks", message=message)


def _name_faults(
    of: WorkflowRequested | TaskRequest, fields: Sequence[str], path: str
) -> Iterator[Fault]:
    for field_name in fields:
        length = len(getattr(of, field_name))
        if length > MOST_NAME:
            message = f"{length} characters; at most {MOST_NAME} are taken"
            yield Fault(code="workflow.name_too_long", path=path + field_name, message=message)


def _unknown(what: str, name: str, path: str, known: Iterable[str]) -> Fault:
    scope = "task" if what in {"crew", "type", "dependency"} else "workflow"
    names = sorted(known)
    listed = ", ".join(names[:MOST_KNOWN]) + (", …" if len(names) > MOST_KNOWN else "")
    message = f"{name[:MOST_NAME]!r} is not known; known: {listed}"
    return Fault(code=f"{scope}.unknown_{what}", path=path, message=message)
