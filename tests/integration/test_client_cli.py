"""The command line on a real Kafka."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaProducer

from crewstream.cli.main import main
from crewstream.contracts.codec import Codec
from crewstream.contracts.events import (
    Fault,
    TaskOutcome,
    TaskStatus,
    WorkflowFinished,
    WorkflowStatus,
)
from crewstream.contracts.schemas import Schemas

if TYPE_CHECKING:
    from support.servers import Brokers

pytestmark = pytest.mark.integration

EXAMPLE = Path(__file__).parents[2] / "examples" / "marketing_campaign.json"
RESULTS = "bizoholic.workflow.results"
Run = Callable[..., tuple[int, str]]
Send = Callable[[str, bytes], None]


@pytest.fixture
def run(
    kafka: Brokers,
    topic_prefix: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Calls the command line for an installation whose topics are there."""
    monkeypatch.setenv("CREWSTREAM_KAFKA_BOOTSTRAP", kafka.bootstrap)
    monkeypatch.setenv("CREWSTREAM_PREFIX", topic_prefix.strip("."))
    monkeypatch.setenv("CREWSTREAM_REPLICAS", "1")

    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["crewstream", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), capsys.readouterr().out

    code, told = call("topics", "plan", "--json")
    assert (code, json.loads(told)["in_sync"]) == (2, False)
    assert call("topics", "apply")[0] == 0
    assert call("topics", "plan") == (0, "in sync\n")
    return call


@pytest.fixture
def send(kafka: Brokers, topic_prefix: str) -> Send:
    async def go(topic: str, value: bytes) -> None:
        async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
            await producer.send_and_wait(topic_prefix + topic, value, key=b"w")

    return lambda topic, value: asyncio.run(go(topic, value))


def lines(told: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in told.splitlines()]


def finished(status: WorkflowStatus, **more: Any) -> bytes:
    now = datetime.now(UTC)
    event = WorkflowFinished(
        workflow_id="w",
        tenant_id="t",
        project_id="bizoholic",
        status=status,
        requested_at=now,
        finished_at=now,
        **more,
    )
    return Codec(Schemas.load()).encode(event)


def test_what_is_submitted_can_be_tailed(run: Run) -> None:
    code, told = run("submit", str(EXAMPLE), "--tenant", "acme", "--json")
    assert code == 0
    workflow_id = json.loads(told)["workflow_id"]
    tail = ("tail", "bizoholic.workflow.requests", "--from-beginning", "--no-follow")
    [record] = lines(run(*tail, "--json")[1])
    assert (record["type"], record["key"]) == ("WorkflowRequested", workflow_id)
    assert record["event"]["tenant_id"] == record["headers"]["x-tenant"] == "acme"
    assert "workflow_type: marketing_campaign" in run(*tail)[1]


def test_tail_shows_garbage_and_stops_after_as_many_as_asked(run: Run, send: Send) -> None:
    send("metrics", b"garbage")
    send("metrics", b"more")
    [record] = lines(run("tail", "metrics", "--from-beginning", "-n", "1", "--json")[1])
    assert record["bytes"] == 7
    assert "cannot be decoded (7 bytes)" in run("tail", "metrics", "--from-beginning", "-n", "1")[1]


def test_results_are_shown_for_people_and_for_programs(run: Run, send: Send) -> None:
    task = TaskOutcome(
        task_id="a", project_id="bizoholic", status=TaskStatus.SUCCEEDED, output="the plan"
    )
    send(RESULTS, finished(WorkflowStatus.COMPLETED, tasks=(task,)))
    fault = Fault(code="task.cycle", path="tasks[0]", message="a waits for itself")
    send(RESULTS, finished(WorkflowStatus.REJECTED, faults=(fault,)))
    results = ("results", "--project", "bizoholic")
    assert [each["status"] for each in lines(run(*results, "--json")[1])] == [
        "completed",
        "rejected",
    ]
    told = run(*results)[1]
    assert "the plan" in told
    assert "tasks[0]: a waits for itself (task.cycle)" in told


def test_a_group_sees_each_result_once(run: Run, send: Send, topic_prefix: str) -> None:
    send(RESULTS, finished(WorkflowStatus.COMPLETED))
    group = ("results", "--project", "bizoholic", "--group", f"{topic_prefix}g", "--json")
    assert len(lines(run(*group)[1])) == 1
    assert lines(run(*group)[1]) == []


def test_waiting_for_a_result_that_does_not_come_fails(run: Run) -> None:
    assert run("submit", str(EXAMPLE), "--wait", "--timeout", "0.5")[0] == 1
