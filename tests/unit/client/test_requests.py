"""Requests as people write them become events, or a list of all that is wrong with their shape."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewstream.contracts.events import Coordination, Priority, WorkflowRequested
from crewstream.errors import InvalidRequest
from crewstream.requests import MAX_TASK_ID, read_request

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EXAMPLES = Path(__file__).parents[3] / "examples"


def read(document: dict[str, Any]) -> WorkflowRequested:
    return read_request(document, tenant="acme", now=NOW, unique="x1")


def example(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((EXAMPLES / f"{name}.json").read_text("utf-8"))
    return found


def faults(document: dict[str, Any]) -> str:
    with pytest.raises(InvalidRequest) as caught:
        read(document)
    return str(caught.value)


def crew_form(*types: str, **more: Any) -> dict[str, Any]:
    tasks = [{"type": each} for each in types]
    return {"project_id": "p", "crew_name": "c", "tasks": tasks, **more}


def test_one_crews_form_is_read() -> None:
    request = read(example("marketing_campaign"))
    assert request.workflow_id == "marketing_campaign-x1"
    assert (request.tenant_id, request.requested_at) == ("acme", NOW)
    assert request.priority is Priority.HIGH
    assert request.coordination is Coordination.PARALLEL
    assert [task.task_id for task in request.tasks] == ["campaign_strategy", "content_generation"]
    assert {task.crew for task in request.tasks} == {"marketing_strategy"}
    assert request.tasks[0].keywords == ("strategy", "marketing", "campaign")
    assert json.loads(request.inputs)["client_data"]["budget"] == 50000


def test_several_projects_form_is_read() -> None:
    request = read(example("quarterly_performance_analysis"))
    assert request.project_id == "bizoholic"
    assert request.workflow_type == "quarterly_performance_analysis"
    assert request.coordination is Coordination.SEQUENTIAL
    assert [(task.project_id, task.crew, task.task_id) for task in request.tasks] == [
        ("bizoholic", "marketing_strategy", "performance_analysis"),
        ("coreldove", "ecommerce_optimization", "conversion_analysis"),
    ]


def test_the_events_own_form_is_read_as_it_stands() -> None:
    event = read(example("marketing_campaign"))
    assert read(event.model_dump(mode="json")) == event


def test_what_the_producer_chose_is_kept() -> None:
    request = read(
        crew_form(
            "a", workflow_id="order-1", tenant_id="other", requested_at="2025-05-05T00:00:00+02:00"
        )
    )
    assert (request.workflow_id, request.tenant_id) == ("order-1", "other")
    assert request.requested_at == datetime(2025, 5, 4, 22, tzinfo=UTC)


def test_a_crew_works_in_order_unless_told_otherwise() -> None:
    assert read(crew_form("a")).coordination is Coordination.SEQUENTIAL
    assert read(crew_form("a", parallel_execution=False)).coordination is Coordination.SEQUENTIAL


def test_inputs_may_be_an_object_or_its_text() -> None:
    assert read(crew_form("a", inputs={"n": 1})).inputs == '{"n": 1}'
    assert read(crew_form("a", inputs='{"n":1}')).inputs == '{"n":1}'


def test_every_fault_is_named_at_once() -> None:
    told = faults(
        {
            "project_id": 3,
            "priority": "soon",
            "requested_at": "2026-01-01T00:00:00",
            "inputs": "{",
            "tasks": [{"task_id": "a", "crew": "c", "inputs": [1]}, {"depends": ["a"]}],
        }
    )
    for fault in (
        "project_id: Input should be a valid string",
        "priority: Input should be 'low', 'normal', 'high' or 'urgent'",
        "requested_at: Input should have timezone info",
        "inputs: not JSON",
        "tasks[0].inputs: not a JSON object",
        "tasks[1].task_id is missing",
        "tasks[1].crew is missing",
        "tasks[1].depends is unknown (did you mean depends_on?)",
    ):
        assert fault in told


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        ({}, "project_id is missing; tasks is missing"),
        (crew_form("a", sponsor="x"), "sponsor is unknown (known here: workflow_id, "),
        (crew_form("a", parallel_execution="yes"), "parallel_execution: Input should be a valid"),
        (crew_form("a", inputs={"x": float("nan")}), "inputs: not JSON: Out of range"),
        (crew_form("a", tasks="a"), "tasks: Input should be a valid list"),
        ({"projects": []}, "projects: name at least one project"),
        (
            {"projects": [{"project_id": "p", "crew_name": "c", "workflow": {"task": []}}]},
            "projects[0].workflow.task is unknown (did you mean tasks?)",
        ),
        (
            {"projects": [], "coordination_strategy": "magic"},
            "coordination_strategy: Input should be 'sequential' or 'parallel'",
        ),
    ],
)
def test_a_fault_says_where_it_is_and_what_would_be_right(
    document: dict[str, Any], fault: str
) -> None:
    assert fault in faults(document)


def test_a_repeated_type_gets_a_number() -> None:
    assert [task.task_id for task in read(crew_form("a", "b", "a", "a")).tasks] == [
        "a",
        "b",
        "a-2",
        "a-3",
    ]


@given(st.lists(st.text(min_size=1), min_size=1, max_size=30))
def test_task_ids_are_unique_and_well_formed_whatever_the_types(types: list[str]) -> None:
    ids = [task.task_id for task in read(crew_form(*types)).tasks]
    assert len(set(ids)) == len(types)
    for task_id in ids:
        assert len(task_id) <= MAX_TASK_ID
        assert all(c.isascii() and (c.isalnum() or c in "._-") for c in task_id)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(
    st.dictionaries(
        st.sampled_from(["projects", "tasks", "crew_name", "project_id", "inputs", "workflow_id"]),
        JSON,
    )
)
def test_any_json_is_read_or_refused(document: dict[str, Any]) -> None:
    with contextlib.suppress(InvalidRequest):
        assert isinstance(read(document), WorkflowRequested)
