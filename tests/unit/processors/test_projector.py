"""Workflow state becomes the status that people read."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

from crewstream.contracts.codec import Codec
from crewstream.contracts.events import (
    Failure,
    TaskState,
    TaskStatus,
    Usage,
    WorkflowState,
    WorkflowStatus,
)
from crewstream.contracts.schemas import Schemas
from crewstream.processors.projector import document, project
from crewstream.records import Inbound

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CODEC = Codec(Schemas.load())


def state(workflow_id: str = "w", version: int = 1) -> WorkflowState:
    failure = Failure(error_type="task.timeout", message="too slow", retryable=True)
    return WorkflowState(
        workflow_id=workflow_id,
        tenant_id="t",
        project_id="p",
        version=version,
        status=WorkflowStatus.RUNNING,
        requested_at=NOW,
        accepted_at=NOW,
        updated_at=NOW,
        request_sha256="secret",
        tasks=(TaskState(task_id="a", project_id="p", status=TaskStatus.FAILED, failure=failure),),
        usage=Usage(cost_usd=Decimal("0.000000001")),
    )


def record(workflow_id: str, value: bytes | None) -> Inbound:
    return Inbound("state", 0, 0, workflow_id.encode(), value, (), 0)


def row(workflow_id: str, version: int = 1) -> Inbound:
    return record(workflow_id, CODEC.encode(state(workflow_id, version)))


def versions(batch: list[Inbound]) -> list[tuple[str, object]]:
    return [(name, each and each["version"]) for name, each in project(CODEC, batch)]


def test_a_document_is_json_ready_and_tells_each_task() -> None:
    found = json.loads(json.dumps(document(state())))
    assert (found["status"], found["accepted_at"]) == ("running", "2026-01-01T00:00:00Z")
    assert found["usage"]["cost_usd"] == "0.000000001"
    [task] = found["tasks"]
    assert (task["task_id"], task["status"]) == ("a", "failed")
    assert task["failure"]["error_type"] == "task.timeout"
    assert float(task["usage"]["cost_usd"]) == 0.0
    assert "E" not in task["usage"]["cost_usd"]
    assert "request_sha256" not in found


def test_the_last_state_of_each_workflow_counts() -> None:
    assert versions([row("a", 1), row("b", 1), row("a", 2)]) == [("a", 2), ("b", 1)]


def test_a_tombstone_forgets() -> None:
    assert versions([row("a", 7), record("a", None)]) == [("a", None)]


def test_a_workflow_id_that_is_used_again_starts_anew() -> None:
    batch = [row("a", 7), record("a", None), row("a", 1), row("a", 2)]
    assert versions(batch) == [("a", None), ("a", 2)]


def test_a_record_that_cannot_be_read_is_left_out() -> None:
    assert versions([record("a", b"garbage"), row("b")]) == [("b", 1)]
