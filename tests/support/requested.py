"""Requests, right and wrong, the other events that processors read, and how to spoil them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from crewstream import topology
from crewstream.contracts import framing
from crewstream.contracts.codec import Codec
from crewstream.contracts.events import (
    Command,
    CrewDescribed,
    Outcome,
    ProjectDescribed,
    Signal,
    TaskAssigned,
    TaskDescribed,
    TaskFinished,
    WorkflowCommanded,
    WorkflowRequested,
    WorkflowSignalled,
)
from crewstream.contracts.record import Record
from crewstream.contracts.schemas import Schemas

PROJECT = "bizoholic"
MEGABYTE = 1_000_000
NOW = datetime.now(UTC)
CODEC = Codec(Schemas.load())

CREWS = ProjectDescribed(
    project_id=PROJECT,
    title="Bizoholic",
    crews=(
        CrewDescribed(
            crew="echo",
            description="",
            tasks=(
                TaskDescribed(task_type="say", description="", expected_output="", agent="echo"),
            ),
        ),
    ),
    announced_at=NOW,
)


NEW_CREW = CREWS.crews[0].model_copy(update={"crew": "new"})


def request(workflow_id: str, **changes: object) -> WorkflowRequested:
    """A request that is right but for the changes."""
    return WorkflowRequested.model_validate(
        {
            "workflow_id": workflow_id,
            "tenant_id": "acme",
            "project_id": PROJECT,
            "requested_at": NOW,
            "tasks": [{"task_id": "a", "crew": "echo", "description": "hello"}],
            **changes,
        }
    )


def task(task_id: str, **changes: object) -> dict[str, object]:
    """A task of a request."""
    return {"task_id": task_id, "crew": "echo", **changes}


# A good record for each topic that coordinator and worker read.
SAMPLES: Mapping[str, Record] = {
    topology.REQUESTS: request("sample"),
    topology.COMMANDS: WorkflowCommanded(
        command_id="c", workflow_id="sample", command=Command.PAUSE, issued_at=NOW
    ),
    topology.SIGNALS: WorkflowSignalled(
        signal_id="s", workflow_id="sample", signal=Signal.TIMER_FIRED, occurred_at=NOW
    ),
    topology.TASKS: TaskAssigned(
        assignment_id="sample/a/1",
        workflow_id="sample",
        task_id="a",
        attempt=1,
        tenant_id="acme",
        project_id=PROJECT,
        crew="echo",
        assigned_at=NOW,
    ),
    topology.RESULTS: TaskFinished(
        assignment_id="sample/a/1",
        workflow_id="sample",
        task_id="a",
        attempt=1,
        tenant_id="acme",
        project_id=PROJECT,
        crew="echo",
        status=Outcome.SUCCEEDED,
        started_at=NOW,
        finished_at=NOW,
    ),
}
UNKNOWN_ID = 4_000_000

# Each spoils the good record of its topic; the words are in the dead letter's reason.
SPOILT: Mapping[str, tuple[Callable[[bytes, str], bytes | None], str]] = {
    "garbage": (lambda _good, _on: b"\xde\xad\xbe\xef" * 8, "starts with 0xde"),
    "empty": (lambda _good, _on: b"", "empty"),
    "null": (lambda _good, _on: None, "empty"),
    "unknown id": (lambda good, _on: framing.header(UNKNOWN_ID) + good[5:], f"{UNKNOWN_ID} is unk"),
    "only its id": (lambda good, _on: good[:5], "ends in the middle"),
    "truncated": (lambda good, _on: good[:-3], ""),
    "too long": (lambda good, _on: good + b"!", "1 bytes are left over"),
    "no UTF-8": (lambda good, _on: good.replace(b"sample", b"sampl\xff", 1), "utf-8"),
    "another record": (lambda _good, on: _other(on), "it came to the wrong topic"),
}


def _other(template: str) -> bytes:
    other = topology.COMMANDS if template != topology.COMMANDS else topology.RESULTS
    return CODEC.encode(SAMPLES[other])


# The changes that make a request wrong, and all of its faults: code -> path.
WRONG: Mapping[str, tuple[dict[str, Any], dict[str, str]]] = {
    "unknown project": ({"project_id": "mars"}, {"workflow.unknown_project": "project_id"}),
    "project of another topic": (
        {"project_id": "coreldove"},
        {"project.wrong_topic": "project_id"},
    ),
    "unknown project of a task": (
        {"tasks": [task("a", project_id="mars")]},
        {"workflow.unknown_project": "tasks[0].project_id"},
    ),
    "unknown crew": ({"tasks": [task("a", crew="x")]}, {"task.unknown_crew": "tasks[0].crew"}),
    "unknown task type": (
        {"tasks": [task("a", task_type="sing")]},
        {"task.unknown_type": "tasks[0].task_type"},
    ),
    "cycle": (
        {"tasks": [task("a", depends_on=["c"]), task("b", depends_on=["a"]),
                   task("c", depends_on=["b"])]},
        {"tasks.cycle": "tasks"},
    ),
    "waits for itself": ({"tasks": [task("a", depends_on=["a"])]}, {"tasks.cycle": "tasks"}),
    "duplicate ids": ({"tasks": [task("a"), task("a")]}, {"task.duplicate_id": "tasks[1].task_id"}),
    "unknown dependency": (
        {"tasks": [task("a", depends_on=["ghost"])]},
        {"task.unknown_dependency": "tasks[0].depends_on[0]"},
    ),
    "no tasks": ({"tasks": []}, {"tasks.empty": "tasks"}),
    "10 000 tasks": (
        {"tasks": [task(f"t{n}") for n in range(10_000)]},
        {"tasks.too_many": "tasks"},
    ),
    "5 MB of inputs": (
        {"inputs": '{"x": "' + "y" * 5 * MEGABYTE + '"}'},
        {"inputs.too_large": "inputs"},
    ),
    "5 MB of a task's inputs": (
        {"tasks": [task("a", inputs='{"x": "' + "y" * 5 * MEGABYTE + '"}')]},
        {"inputs.too_large": "tasks[0].inputs"},
    ),
    "inputs that are no JSON": ({"inputs": "{'a': 1}"}, {"inputs.not_json": "inputs"}),
    "inputs that are nothing": ({"inputs": ""}, {"inputs.not_json": "inputs"}),
    "deep inputs": ({"inputs": "[" * 100_000}, {"inputs.not_json": "inputs"}),
    "inputs that are no object": ({"inputs": "[1]"}, {"inputs.not_an_object": "inputs"}),
    "tenant missing": ({"tenant_id": ""}, {"tenant.missing": "tenant_id"}),
    "deadline negative": ({"deadline_s": -1.0}, {"workflow.invalid_deadline": "deadline_s"}),
    "limit negative": ({"tasks": [task("a", timeout_s=-1.0)]}, {"task.invalid_limit": "tasks[0]"}),
    "all at once": (
        {
            "tenant_id": " ",
            "deadline_s": -0.5,
            "inputs": "3",
            "tasks": [
                task("a b"),
                task("b", crew="x", depends_on=["b", "ghost"]),
                task("b", inputs="{", project_id="mars"),
            ],
        },
        {
            "tenant.missing": "tenant_id",
            "workflow.invalid_deadline": "deadline_s",
            "inputs.not_an_object": "inputs",
            "task.invalid_id": "tasks[0].task_id",
            "task.duplicate_id": "tasks[2].task_id",
            "task.unknown_crew": "tasks[1].crew",
            "inputs.not_json": "tasks[2].inputs",
            "workflow.unknown_project": "tasks[2].project_id",
            "task.unknown_dependency": "tasks[1].depends_on[1]",
            "tasks.cycle": "tasks",
        },
    ),
}  # fmt: skip
