"""A request as people write it, in JSON, becomes the event; pure.

Three forms are taken: the event's own (the names in WorkflowRequested.avsc), one crew's
(`crew_name`, `parallel_execution`) and that of several projects (`projects`).
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeGuard, get_args

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    ValidationError,
    field_validator,
)
from pydantic_core import ErrorDetails

from crewstream.contracts.events import (
    AfterRequest,
    Coordination,
    FailurePolicy,
    Priority,
    TaskRequest,
    WorkflowRequested,
)
from crewstream.errors import InvalidRequest

MAX_TASK_ID = 128


def read_request(
    document: Mapping[str, object], *, tenant: str, now: datetime, unique: str
) -> WorkflowRequested:
    """The event for a document in one of the three forms.

    `tenant` and `now` stand in for a missing `tenant_id` and `requested_at`; a missing
    `workflow_id` is made of the workflow's type and `unique`. Raises InvalidRequest, which names
    every fault of shape; whether crews and dependencies exist is for the coordinator to say.
    """
    form = _form(document)
    try:
        shape = form.model_validate(document)
    except ValidationError as error:
        faults = "; ".join(_fault(form, each) for each in error.errors())
        raise InvalidRequest(f"the request cannot be read: {faults}") from None
    return shape.event(tenant, now, unique)


def _as_json(inputs: object) -> str:
    """Inputs as the event carries them. An object may be given as such, or as its JSON text."""
    try:
        found = json.loads(inputs) if isinstance(inputs, str) else inputs
        text = json.dumps(found, ensure_ascii=False, allow_nan=False)
    except (ValueError, TypeError) as error:
        raise ValueError(f"not JSON: {error}") from error
    if not isinstance(found, Mapping):
        raise ValueError("not a JSON object")  # noqa: TRY004  pydantic reads ValueError
    return inputs if isinstance(inputs, str) else text


def _as_after(given: object) -> object:
    """A workflow to wait for may be given by its id alone."""
    return {"workflow_id": given} if isinstance(given, str) else given


Inputs = Annotated[str, BeforeValidator(_as_json)]
After = Annotated[AfterRequest, BeforeValidator(_as_after)]


class Shape(BaseModel):
    """A part of a document: what it does not know is a fault, never dropped."""

    # Built when the first document comes: who sends events alone need not wait for it.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Form(Shape):
    """What every form of a request may say."""

    workflow_id: str = ""
    tenant_id: str = ""
    requested_at: AwareDatetime | None = None
    priority: Priority = Priority.NORMAL
    failure_policy: FailurePolicy = FailurePolicy.FAIL
    deadline_s: float = 0.0
    inputs: Inputs = "{}"
    after: tuple[After, ...] = ()
    after_timeout_s: float = 0.0
    not_before: AwareDatetime | None = None
    max_tokens: int = 0
    max_cost_usd: Annotated[Decimal, Field(max_digits=18, decimal_places=9)] = Decimal(0)

    def _event(self, tenant: str, now: datetime, unique: str, **own: Any) -> WorkflowRequested:
        kind = own["workflow_type"] or own["project_id"]
        return WorkflowRequested(
            workflow_id=self.workflow_id or f"{_slug(kind)}-{unique}",
            tenant_id=self.tenant_id or tenant,
            requested_at=self.requested_at or now,
            priority=self.priority,
            failure_policy=self.failure_policy,
            deadline_s=self.deadline_s,
            inputs=self.inputs,
            after=self.after,
            after_timeout_s=self.after_timeout_s,
            not_before=self.not_before,
            max_tokens=self.max_tokens,
            max_cost_usd=self.max_cost_usd,
            **own,
        )


class NativeTask(TaskRequest):
    """A task as the event has it."""

    inputs: Inputs = "{}"


class NativeForm(Form):
    """The event's own form."""

    project_id: str
    workflow_type: str = ""
    coordination: Coordination = Coordination.DEPENDENCIES
    schedule_id: str = ""
    tasks: tuple[NativeTask, ...]

    def event(self, tenant: str, now: datetime, unique: str) -> WorkflowRequested:
        """The event. What is missing is taken from the arguments."""
        return self._event(
            tenant,
            now,
            unique,
            project_id=self.project_id,
            workflow_type=self.workflow_type,
            coordination=self.coordination,
            schedule_id=self.schedule_id,
            tasks=tuple(TaskRequest(**task.model_dump()) for task in self.tasks),
        )


class CrewTask(Shape):
    """A task that is known by its type."""

    type: str = Field(min_length=1)
    agent: str = ""
    description: str = ""
    expected_output: str = ""
    keywords: tuple[str, ...] = ()
    inputs: Inputs = "{}"
    max_attempts: int = 0
    timeout_s: float = 0.0
    requires_approval: bool = False


class CrewForm(Form):
    """One crew's tasks."""

    project_id: str
    crew_name: str
    workflow_type: str = ""
    parallel_execution: StrictBool = False
    tasks: tuple[CrewTask, ...]

    def event(self, tenant: str, now: datetime, unique: str) -> WorkflowRequested:
        """The event; its tasks are named after their types."""
        named = zip(_task_ids(self.tasks), self.tasks, strict=True)
        return self._event(
            tenant,
            now,
            unique,
            project_id=self.project_id,
            workflow_type=self.workflow_type,
            coordination="parallel" if self.parallel_execution else "sequential",
            tasks=tuple(_task(name, task, crew=self.crew_name) for name, task in named),
        )


class PartWorkflow(Shape):
    """What one project contributes."""

    tasks: tuple[CrewTask, ...]


class Part(Shape):
    """One project, its crew and their tasks."""

    project_id: str
    crew_name: str
    workflow: PartWorkflow


class ProjectsForm(Form):
    """Several projects' tasks; the first project is the workflow's own."""

    workflow_name: str = ""
    coordination_strategy: Literal["sequential", "parallel"] = "sequential"
    projects: tuple[Part, ...]

    @field_validator("projects")
    @classmethod
    def _has_a_home(cls, projects: tuple[Part, ...]) -> tuple[Part, ...]:
        if not projects:
            raise ValueError("name at least one project")
        return projects

    def event(self, tenant: str, now: datetime, unique: str) -> WorkflowRequested:
        """The event; its tasks are named after their types, in the order of the projects."""
        parts = [(part, task) for part in self.projects for task in part.workflow.tasks]
        names = _task_ids([task for _, task in parts])
        return self._event(
            tenant,
            now,
            unique,
            project_id=self.projects[0].project_id,
            workflow_type=self.workflow_name,
            coordination=self.coordination_strategy,
            tasks=tuple(
                _task(name, task, crew=part.crew_name, project_id=part.project_id)
                for name, (part, task) in zip(names, parts, strict=True)
            ),
        )


def _form(document: Mapping[str, object]) -> type[NativeForm | CrewForm | ProjectsForm]:
    if "projects" in document:
        return ProjectsForm
    return CrewForm if {"crew_name", "parallel_execution"} & document.keys() else NativeForm


def _task(name: str, task: CrewTask, crew: str, project_id: str = "") -> TaskRequest:
    said = task.model_dump(exclude={"type"})
    return TaskRequest(task_id=name, task_type=task.type, crew=crew, project_id=project_id, **said)


def _task_ids(tasks: Sequence[CrewTask]) -> Iterator[str]:
    """Each task's type; what was taken already gets a number: `report`, `report-2`."""
    taken: set[str] = set()
    for task in tasks:
        name = base = _slug(task.type)
        count = 1
        while name in taken:
            count += 1
            name = f"{base}-{count}"
        taken.add(name)
        yield name


def _slug(words: str) -> str:
    # Room is left for the number of a repeated one.
    return re.sub(r"[^A-Za-z0-9._-]+", "-", words)[: MAX_TASK_ID - 6] or "task"


def _fault(form: type[BaseModel], error: ErrorDetails) -> str:
    *parent, last = error["loc"] or ("request",)
    path = re.sub(r"\.(\d+)", r"[\1]", ".".join(str(step) for step in (*parent, last)))
    if error["type"] == "missing":
        return f"{path} is missing"
    if error["type"] != "extra_forbidden":
        # Sequences are tuples for us; who writes JSON knows them as lists.
        reason = error["msg"].removeprefix("Value error, ").replace("tuple", "list")
        return f"{path}: {reason}"
    known = _fields_at(form, parent)
    near = difflib.get_close_matches(str(last), known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
    return f"{path} is unknown ({hint})"


def _fields_at(form: type[BaseModel], path: Sequence[str | int]) -> Sequence[str]:
    for step in path:
        if isinstance(step, str):
            kind = form.model_fields[step].annotation
            form = next((each for each in (*get_args(kind), kind) if _is_model(each)), form)
    return list(form.model_fields)


def _is_model(kind: object) -> TypeGuard[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
