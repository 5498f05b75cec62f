"""The coordinator, joined to the worker in memory: requests, bad requests, and trouble."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import override

from crewstream import topology
from crewstream.contracts.events import (
    Command,
    WorkflowCommanded,
    WorkflowRequested,
    WorkflowState,
    WorkflowStatus,
)
from crewstream.contracts.partitioning import partition_for
from crewstream.domain import policy
from crewstream.domain.plan import Rules
from crewstream.records import Outbound
from crewstream.testing import EchoRuns
from crewstream_agents.spec import CrewOutcome, CrewTask
from support.flow import CODEC, START, TOPICS, Flow

BIZOHOLIC = TOPICS.full(topology.REQUESTS, "bizoholic")


def request(workflow_id: str = "w", **changes: Any) -> WorkflowRequested:
    return WorkflowRequested.model_validate(
        {
            "workflow_id": workflow_id,
            "tenant_id": "t",
            "project_id": "bizoholic",
            "requested_at": START,
            "tasks": [{"task_id": "a", "crew": "c", "description": "hello"}],
            **changes,
        }
    )


def chain(workflow_id: str, count: int = 3) -> WorkflowRequested:
    projects = ["bizoholic", "coreldove"]
    return request(
        workflow_id,
        coordination="sequential",
        tasks=[
            {"task_id": f"t{n}", "crew": "c", "project_id": projects[n % 2]} for n in range(count)
        ],
    )


def faults_of(flow: Flow, asked: WorkflowRequested, topic: str = BIZOHOLIC) -> dict[str, str]:
    flow.put(topic, asked.workflow_id, asked)
    flow.drain()
    (finished,) = flow.finished()
    assert finished.status == WorkflowStatus.REJECTED
    return {fault.code: fault.message for fault in finished.faults}


def test_a_request_runs_and_its_result_comes_out_once() -> None:
    flow = Flow()
    flow.put(BIZOHOLIC, "w", request())
    flow.drain()
    (finished,) = flow.finished()
    assert finished.status == WorkflowStatus.COMPLETED
    assert finished.tasks[0].output == "hello"
    state = flow.state("w")
    assert state is not None
    assert state.status == WorkflowStatus.COMPLETED
    # Nothing of a completed workflow is kept but its row.
    assert [topic for topic, _ in flow.rows.tables] == [TOPICS.full(topology.STATE)]


def test_upstream_outputs_travel_across_projects_and_inputs_are_laid_over() -> None:
    asked = request(
        inputs='{"a": 1, "b": 1}',
        tasks=[
            {"task_id": "first", "crew": "c", "description": "from the first"},
            {
                "task_id": "second",
                "crew": "c",
                "project_id": "coreldove",
                "depends_on": ["first"],
                "inputs": '{"b": 2}',
            },
        ],
    )
    flow = Flow()
    flow.put(BIZOHOLIC, "w", asked)
    flow.drain()
    first, second = flow.assigned()
    assert (first.inputs, second.inputs) == ('{"a": 1, "b": 1}', '{"a": 1, "b": 2}')
    assert [(one.task_id, one.output) for one in second.upstream] == [("first", "from the first")]
    assert [out.topic for out in flow.sent if out.topic.endswith(".tasks")] == [
        TOPICS.full(topology.TASKS, project) for project in ("bizoholic", "coreldove")
    ]


def test_every_fault_of_a_request_is_named_at_once() -> None:
    asked = request(
        tenant_id=" ",
        inputs="[1]",
        deadline_s=-1.0,
        tasks=[
            {"task_id": "a", "crew": "nobody", "depends_on": ["b"]},
            {"task_id": "b", "crew": "c", "depends_on": ["a", "ghost"], "task_type": "x"},
            {"task_id": "b", "crew": "c", "inputs": "{", "project_id": "mars"},
            {"task_id": "no spaces", "crew": "c", "task_type": "y"},
        ],
    )
    rules = Rules({"bizoholic": {"c": frozenset({"y"})}, "coreldove": None})
    found = faults_of(Flow(rules=rules), asked)
    assert set(found) == {
        "tenant.missing",
        "inputs.not_an_object",
        "workflow.invalid_deadline",
        "task.unknown_crew",
        "task.unknown_type",
        "task.unknown_dependency",
        "task.duplicate_id",
        "inputs.not_json",
        "workflow.unknown_project",
        "task.invalid_id",
        "tasks.cycle",
    }
    assert "a -> b -> a" in found["tasks.cycle"] or "b -> a -> b" in found["tasks.cycle"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"tasks": []}, "tasks.empty"),
        ({"tasks": [{"task_id": f"t{n}", "crew": "c"} for n in range(10_000)]}, "tasks.too_many"),
        ({"inputs": '{"x": "' + "y" * 5_000_000 + '"}'}, "inputs.too_large"),
        ({"inputs": "[" * 100_000}, "inputs.not_json"),
        ({"project_id": "mars"}, "workflow.unknown_project"),
        ({"project_id": "coreldove"}, "project.wrong_topic"),
        ({"workflow_id": "a/b"}, "workflow.invalid_id"),
        ({"workflow_id": ""}, "workflow.invalid_id"),
    ],
)
def test_a_bad_request_is_rejected_with_its_fault(changes: dict[str, Any], code: str) -> None:
    assert code in faults_of(Flow(), request(**changes))


def test_a_cycle_is_found_in_a_chain_longer_than_the_stack() -> None:
    tasks = [
        {"task_id": f"t{n}", "crew": "c", "depends_on": [f"t{(n + 1) % 900}"]} for n in range(900)
    ]
    assert "tasks.cycle" in faults_of(Flow(), request(tasks=tasks))


@pytest.mark.parametrize("value", [None, b"", b"\x01junk", b"\x00\x00\x00\xff\xff rest"])
def test_what_cannot_be_decoded_goes_to_the_dead_letters_untouched(value: bytes | None) -> None:
    flow = Flow()
    flow.put(BIZOHOLIC, "w", value)
    flow.put(BIZOHOLIC, "w", request())
    flow.drain()
    (letter,) = flow.letters()
    assert (letter.key, letter.value) == (b"w", value)
    headers = dict(letter.headers)
    assert headers["x-dlq-topic"] == BIZOHOLIC.encode()
    assert headers["x-dlq-error"]
    assert [one.status for one in flow.finished()] == [WorkflowStatus.COMPLETED]


def test_a_truncated_body_names_its_schema() -> None:
    flow = Flow()
    flow.put(BIZOHOLIC, "w", CODEC.encode(request())[:-3])
    flow.drain()
    (letter,) = flow.letters()
    assert dict(letter.headers)["x-dlq-schema-id"].isdigit()


@pytest.mark.parametrize("key", [None, b"another", b"w"])
def test_a_request_in_the_wrong_place_takes_one_more_hop(key: bytes | None) -> None:
    flow = Flow()
    wrong = (partition_for(b"w", 8) + 1) % 8
    flow.append(Outbound(BIZOHOLIC, key, CODEC.encode(request()), (("x", b"y"),), wrong))
    flow.drain()
    hops = [out for out in flow.sent if out.topic == BIZOHOLIC]
    assert [(out.key, out.headers) for out in hops] == [(b"w", (("x", b"y"),))]
    assert [one.status for one in flow.finished()] == [WorkflowStatus.COMPLETED]


def test_the_same_request_twice_is_one_workflow() -> None:
    flow = Flow()
    flow.put(BIZOHOLIC, "w", request())
    flow.put(BIZOHOLIC, "w", request(requested_at=START + timedelta(seconds=5)))
    flow.drain()
    assert len(list(flow.finished())) == 1
    assert not flow.letters()


def test_another_request_of_the_same_id_is_a_dead_letter_and_the_first_one_stands() -> None:
    flow = Flow()
    flow.put(BIZOHOLIC, "w", request())
    flow.put(BIZOHOLIC, "w", request(inputs='{"other": true}'))
    flow.drain()
    (finished,) = flow.finished()
    (letter,) = flow.letters()
    assert finished.status == WorkflowStatus.COMPLETED
    assert b"another content" in dict(letter.headers)["x-dlq-error"]


class Verbose(EchoRuns):
    """Runs whose results are as large as a result may be."""

    @override
    async def run(self, task: CrewTask) -> CrewOutcome:
        outcome = await super().run(task)
        return replace(outcome, output="x" * 4_000_000)


def test_what_would_be_too_large_to_send_fails_its_task_and_is_left_out_of_the_result() -> None:
    asked = request(
        failure_policy="skip_dependants",
        tasks=[
            *({"task_id": f"t{n}", "crew": "c"} for n in range(3)),
            {"task_id": "join", "crew": "c", "depends_on": ["t0", "t1", "t2"]},
        ],
    )
    flow = Flow(runs=Verbose())
    flow.put(BIZOHOLIC, "w", asked)
    flow.drain()
    (finished,) = flow.finished()
    assert finished.status == WorkflowStatus.PARTIAL
    assert finished.missing == ("join",)
    assert finished.failure is not None
    assert finished.failure.error_type == "inputs.too_large"
    assert all("left out" in task.output for task in finished.tasks)
    assert all(len(out.value or b"") < 8 * 1024 * 1024 for out in flow.sent)


def test_a_command_for_no_workflow_is_a_dead_letter() -> None:
    flow = Flow()
    asked = WorkflowCommanded(
        command_id="c", workflow_id="ghost", command=Command.CANCEL, issued_at=START
    )
    flow.put(TOPICS.full(topology.COMMANDS), "ghost", asked)
    flow.drain()
    assert len(flow.letters()) == 1


def test_retries_fire_from_the_stored_rows_and_old_rows_are_forgotten() -> None:
    flow = Flow()
    flow.put(BIZOHOLIC, "w", request(inputs='{"fail": "test.flaky"}'))
    flow.drain()
    while (state := flow.state("w")) is not None:
        due = policy.next_due(state)
        assert due is not None
        flow.clock.at = max(flow.clock.at, due)
        assert flow.fire_due()
        flow.drain()
    (finished,) = flow.finished()
    assert finished.status == WorkflowStatus.FAILED
    assert finished.tasks[0].attempts == 3
    assert finished.failure is not None
    assert finished.failure.error_type == "test.flaky"
    assert not flow.rows.tables


@settings(max_examples=60)
@given(st.integers(0, 2**32))
def test_crashes_and_redeliveries_lose_nothing_and_apply_nothing_twice(seed: int) -> None:
    flow, chance = Flow(), random.Random(seed)
    names = [f"w{n}" for n in range(6)]
    for name in names:
        flow.put(BIZOHOLIC, name, chain(name))
    flow.drain(chance, trouble=0.3)
    for name in names:
        state = flow.state(name)
        assert state is not None
        assert state.status == WorkflowStatus.COMPLETED
        assert state.version == 4  # accepted, and one transition a result
    assert {one.workflow_id for one in flow.finished()} == set(names)
    ends = Counter(
        out.key
        for out in flow.sent
        if out.topic == TOPICS.full(topology.STATE)
        and out.value is not None
        and CODEC.decode(out.value, WorkflowState).status == WorkflowStatus.COMPLETED
    )
    assert set(ends.values()) == {1}
