"""What coordinator and worker tell in the logs: one line an end, with the ids it is about."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from typing_extensions import override

from crewstream import logs, topology
from crewstream.contracts.events import WorkflowRequested
from crewstream.records import Outbound
from crewstream.testing import EchoRuns
from crewstream_agents.spec import CrewOutcome, CrewTask, Usage
from support.flow import START, TOPICS, Flow

BIZOHOLIC = TOPICS.full(topology.REQUESTS, "bizoholic")
TASKS = TOPICS.full(topology.TASKS, "bizoholic")
Line = dict[str, Any]


class Lines:
    """What is logged while a test runs, as JSON."""

    def __init__(self, stream: io.StringIO) -> None:
        self._stream = stream

    def of(self, processor: str) -> list[Line]:
        lines = map(json.loads, self._stream.getvalue().splitlines())
        name = f"crewstream.processors.{processor}"
        return [one for one in lines if one["logger"].startswith(name)]


@pytest.fixture
def lines() -> Iterator[Lines]:
    root, stream = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers[:], root.level
    logs.configure("json", "debug", stream=stream)
    yield Lines(stream)
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def request(**changes: object) -> WorkflowRequested:
    return WorkflowRequested.model_validate(
        {
            "workflow_id": "w",
            "tenant_id": "acme",
            "project_id": "bizoholic",
            "requested_at": START,
            "tasks": [{"task_id": "a", "crew": "c"}],
            **changes,
        }
    )


def run(asked: WorkflowRequested, flow: Flow) -> None:
    flow.put(BIZOHOLIC, asked.workflow_id, asked)
    flow.drain()


def taken(line: Line, **wanted: object) -> None:
    assert {name: line.get(name) for name in wanted} == wanted


class Costly(EchoRuns):
    """Runs that have cost something, and tell it in a line of their own."""

    @override
    async def run(self, task: CrewTask) -> CrewOutcome:
        logging.getLogger("crewstream.processors.worker").info("within")
        usage = Usage(input_tokens=10, output_tokens=2, cost_usd=Decimal("0.25"))
        return replace(await super().run(task), usage=usage)


def test_an_attempt_that_ends_is_one_line_with_its_ids_and_what_it_cost(lines: Lines) -> None:
    run(request(), Flow(runs=Costly()))
    within, ended = lines.of("worker")
    ids = {"workflow_id": "w", "task_id": "a", "tenant_id": "acme", "assignment_id": "w/a/1"}
    taken(within, **ids)
    taken(ended, **ids, event="attempt succeeded", level="debug", status="succeeded", agent="echo")
    taken(ended, input_tokens=10, output_tokens=2, cost_usd=0.25)
    assert ended["duration_ms"] >= 0


def test_an_attempt_that_failed_is_a_warning_with_its_reason(lines: Lines) -> None:
    run(request(inputs='{"fail": "llm.rate_limited"}'), Flow())
    [ended] = lines.of("worker")
    taken(ended, level="warning", status="failed", error_type="llm.rate_limited", task_id="a")
    assert ended["reason"] == "the inputs asked for it"


def test_a_workflow_that_ends_is_one_line(lines: Lines) -> None:
    run(request(tasks=[{"task_id": name, "crew": "c"} for name in "ab"]), Flow())
    [ended] = lines.of("coordinator")
    taken(ended, workflow_id="w", tenant_id="acme", project_id="bizoholic")
    taken(ended, level="debug", status="completed", duration_ms=0.0, tasks=2)
    assert "error_type" not in ended


def test_a_rejected_request_is_a_warning_with_each_fault_once(lines: Lines) -> None:
    tasks = [{"task_id": "x", "crew": "c", "depends_on": ["g", "h"]}]
    run(request(workflow_id="w" * 500, tenant_id="", tasks=tasks), Flow())
    [rejected] = lines.of("coordinator")
    faults = ["workflow.invalid_id", "tenant.missing", "task.unknown_dependency"]
    taken(rejected, level="warning", status="rejected", faults=faults)
    assert "requests[" in rejected["workflow_id"], "an id that is too long cannot name it"


@pytest.mark.parametrize(
    ("topic", "key", "processor"), [(BIZOHOLIC, b"w", "coordinator"), (TASKS, b"w/a", "worker")]
)
@pytest.mark.parametrize("headers", [(), (("ce_subject", b"w"), ("x-tenant", b"acme"))])
def test_a_dead_letter_is_a_warning_that_says_where_and_why(
    lines: Lines, topic: str, key: bytes, processor: str, headers: tuple[tuple[str, bytes], ...]
) -> None:
    flow = Flow()
    flow.append(Outbound(topic, key, b"garbage", headers, partition=3))
    flow.drain()
    [line] = lines.of(processor)
    taken(line, event="dead letter", level="warning", workflow_id="w", at=f"{topic}[3]@0")
    taken(line, error_type="Undecodable", tenant_id="acme" if headers else "")
    assert "starts with 0x67" in line["reason"]


def test_another_request_of_the_same_id_is_told(lines: Lines) -> None:
    flow = Flow()
    run(request(), flow)
    run(request(inputs='{"other": 1}'), flow)
    assert [line["event"] for line in lines.of("coordinator")] == [
        "workflow completed",
        "dead letter",
    ]


def test_at_warning_nothing_is_told_of_what_goes_well(lines: Lines) -> None:
    logging.getLogger().setLevel("WARNING")
    run(request(), Flow(runs=Costly()))
    assert lines.of("coordinator") == lines.of("worker") == []
