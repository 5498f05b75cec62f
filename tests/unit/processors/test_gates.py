"""What a workflow waits for before it starts: other workflows, a time, room for its tenant."""

from __future__ import annotations

import json
import random
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crewstream import topology
from crewstream.contracts.events import (
    Admission,
    AdmissionState,
    AfterRequest,
    Command,
    Required,
    Signal,
    TaskCancelled,
    WorkflowCommanded,
    WorkflowFinished,
    WorkflowRequested,
    WorkflowSignalled,
    WorkflowStatus,
)
from crewstream.contracts.limits import Limits
from crewstream.domain import policy
from crewstream.domain.plan import Rules
from crewstream.processors.coordinator import dependencies
from support.flow import CODEC, START, TOPICS, Flow

REQUESTS = TOPICS.full(topology.REQUESTS, "bizoholic")
COMMANDS = TOPICS.full(topology.COMMANDS)


def request(name: str, after: list[str] | None = None, **changes: Any) -> WorkflowRequested:
    return WorkflowRequested.model_validate(
        {
            "workflow_id": name,
            "tenant_id": "t",
            "project_id": "bizoholic",
            "requested_at": START,
            "tasks": [{"task_id": "a", "crew": "c", "description": f"by {name}"}],
            "after": [{"workflow_id": each} for each in after or ()],
            **changes,
        }
    )


def put(flow: Flow, *asked: WorkflowRequested) -> None:
    for each in asked:
        flow.put(REQUESTS, each.workflow_id, each)
    flow.drain()


def command(flow: Flow, name: str, what: Command, task: str = "") -> None:
    asked = WorkflowCommanded(
        command_id=f"{name}-{what}", workflow_id=name, command=what, task_id=task, issued_at=START
    )
    flow.put(COMMANDS, name, asked)
    flow.drain()


def statuses(flow: Flow) -> dict[str, str]:
    """How each workflow ended; one that ended twice fails the test."""
    ends = list(flow.finished())
    assert max(Counter(each.workflow_id for each in ends).values(), default=1) == 1
    return {each.workflow_id: str(each.status) for each in ends}


def end_of(flow: Flow, name: str) -> WorkflowFinished:
    return next(each for each in flow.finished() if each.workflow_id == name)


def limited(**limits: Any) -> Flow:
    found = Limits.model_validate({"tenants": {"t": limits}})
    return Flow(rules=Rules(dict.fromkeys(TOPICS.projects), found))


# -- after -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [("first", "then"), ("then", "first")])
def test_a_workflow_starts_when_the_one_it_waits_for_has_completed(order: tuple[str, ...]) -> None:
    flow, both = Flow(), {"first": request("first"), "then": request("then", ["first"])}
    put(flow, *(both[name] for name in order))
    assert statuses(flow) == {"first": "completed", "then": "completed"}
    assert [each.workflow_id for each in flow.assigned()] == ["first", "then"]
    assert not any("watches" in topic for topic, _ in flow.rows.tables)


def test_one_that_is_not_known_is_waited_for_until_the_timeout() -> None:
    flow = Flow()
    put(flow, request("then", ["ghost"], after_timeout_s=60))
    flow.clock.at += timedelta(seconds=59)
    assert not flow.fire_due()
    flow.clock.at += timedelta(seconds=1)
    assert flow.fire_due()
    flow.drain()
    failure = end_of(flow, "then").failure
    assert failure is not None
    assert (failure.error_type, "'ghost'" in failure.message) == ("after.timeout", True)
    assert not any("watches" in topic for topic, _ in flow.rows.tables), "nobody waits any more"
    put(flow, request("ghost"))
    assert statuses(flow) == {"then": "failed", "ghost": "completed"}


def test_another_end_than_the_required_one_fails_it_unless_any_end_will_do() -> None:
    flow = Flow()
    fails = request("fails", inputs='{"fail": "crew.failed"}', tasks=[
        {"task_id": "a", "crew": "c", "max_attempts": 1}])  # fmt: skip
    any_end = request("any").changed(
        {"after": (AfterRequest(workflow_id="fails", required=Required.ENDED),)}
    )
    put(flow, fails, request("strict", ["fails"]), any_end)
    assert statuses(flow) == {"fails": "failed", "strict": "failed", "any": "completed"}
    failure = end_of(flow, "strict").failure
    assert failure is not None
    assert failure.error_type == "after.unmet"


def test_another_tenants_workflow_is_as_good_as_unknown() -> None:
    flow = Flow()
    put(flow, request("theirs", tenant_id="u"), request("ours", ["theirs"]))
    assert statuses(flow) == {"theirs": "completed"}


@settings(max_examples=40)
@given(st.integers(0, 2**32))
def test_one_of_a_cycle_is_refused_with_its_path_and_the_rest_end(seed: int) -> None:
    flow, chance = Flow(), random.Random(seed)
    names = ["w1", "w2", "w3"]
    asked = [request(name, [names[n - 1]]) for n, name in enumerate(names)]
    chance.shuffle(asked)
    for each in asked:
        flow.put(REQUESTS, each.workflow_id, each)
    flow.drain(chance, trouble=0.2)
    ends = {each.workflow_id: each for each in flow.finished()}
    refused = [each for each in ends.values() if each.status == WorkflowStatus.REJECTED]
    assert [each.workflow_id for each in refused] == ["w3"]
    (fault,) = refused[0].faults
    assert fault.code == "after.cycle"
    assert fault.message.count("->") == 3
    # The others waited for one that has not completed.
    assert {ends[name].status for name in ("w1", "w2")} == {WorkflowStatus.FAILED}


@settings(max_examples=40)
@given(st.integers(0, 2**32))
def test_graphs_of_workflows_with_limits_complete_whatever_comes_between(seed: int) -> None:
    flow, chance = limited(max_running_workflows=2), random.Random(seed)
    names = [f"w{n}" for n in range(8)]
    asked = [
        request(name, chance.sample(names[:n], chance.randint(0, min(2, n))))
        for n, name in enumerate(names)
    ]
    chance.shuffle(asked)
    for each in asked:
        flow.put(REQUESTS, each.workflow_id, each)
    flow.drain(chance, trouble=0.3)
    for name in names:
        state = flow.state(name)
        assert state is not None
        assert state.status == WorkflowStatus.COMPLETED
    tables = {TOPICS.full(topology.STATE), TOPICS.full(topology.ADMISSION)}
    assert {topic for topic, _ in flow.rows.tables} == tables, "nobody is watched any more"
    (tenant,) = (v for (topic, _), v in flow.rows.tables.items() if topic.endswith("admission"))
    row = CODEC.decode(tenant, AdmissionState)
    assert (row.running, row.tasks, row.waiting, row.first) == (0, 0, 0, "")


def test_no_more_wait_for_one_workflow_than_can_be_told_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dependencies, "MOST_WATCHERS", 2)
    flow = Flow()
    for name in ("w1", "w2", "w3"):
        put(flow, request(name, ["late"]))
    assert [fault.code for fault in end_of(flow, "w3").faults] == ["after.too_many"]
    put(flow, request("late"))
    assert statuses(flow) == dict.fromkeys(("w1", "w2", "late"), "completed") | {"w3": "rejected"}


def test_a_signal_that_makes_no_sense_is_a_dead_letter() -> None:
    flow = Flow()
    put(flow, request("then", ["first"]))
    signal = WorkflowSignalled(
        signal_id="s", workflow_id="then", signal=Signal.DEPENDENCY_RESOLVED,
        source_workflow_id="first", status="splendid", occurred_at=START,
    )  # fmt: skip
    flow.put(TOPICS.full(topology.SIGNALS), "then", signal)
    flow.drain()
    assert len(flow.letters()) == 1
    put(flow, request("first"))
    assert statuses(flow)["then"] == "completed"


# -- references ------------------------------------------------------------------------------------


def test_inputs_take_outputs_of_earlier_tasks_and_of_workflows_waited_for() -> None:
    inputs = {
        "words": {"$from": {"task": "a"}},
        "deep": [{"x": {"$from": {"task": "a", "select": "status"}}}],
        "theirs": {"$from": {"workflow": "first", "task": "a"}},
        "all": {"$from": {"workflow": "first", "select": "tasks.a.output"}},
        "or": {"$from": {"task": "a", "select": "json.nothing", "default": 7}},
    }
    tasks = [
        {"task_id": "a", "crew": "c", "description": "said"},
        {"task_id": "b", "crew": "c", "depends_on": ["a"], "inputs": json.dumps(inputs)},
    ]
    flow = Flow()
    put(flow, request("first"), request("w", ["first"], tasks=tasks))
    last = list(flow.assigned())[-1]
    assert json.loads(last.inputs) == {
        "words": "said",
        "deep": [{"x": "succeeded"}],
        "theirs": "by first",
        "all": "by first",
        "or": 7,
    }


@pytest.mark.parametrize("select", ["json.nothing", "length(json)"])
def test_a_reference_that_finds_nothing_fails_its_task(select: str) -> None:
    inputs = json.dumps({"x": {"$from": {"task": "a", "select": select}}})
    tasks = [
        {"task_id": "a", "crew": "c"},
        {"task_id": "b", "crew": "c", "depends_on": ["a"], "inputs": inputs},
    ]
    flow = Flow()
    put(flow, request("w", tasks=tasks))
    failure = end_of(flow, "w").failure
    assert failure is not None
    assert failure.error_type == "inputs.unresolved"
    assert "inputs.x" in failure.message


@pytest.mark.parametrize(
    ("reference", "code"),
    [
        ({"task": "b"}, "inputs.unknown_reference"),
        ({"workflow": "elsewhere"}, "inputs.unknown_reference"),
        ({"task": "a", "select": "]"}, "inputs.invalid_reference"),
        ({"job": "a"}, "inputs.invalid_reference"),
        ("a", "inputs.invalid_reference"),
        ({}, "inputs.invalid_reference"),
    ],
)
def test_a_reference_that_leads_nowhere_is_a_fault(reference: Any, code: str) -> None:
    tasks = [{"task_id": "a", "crew": "c", "inputs": json.dumps({"x": {"$from": reference}})},
             {"task_id": "b", "crew": "c"}]  # fmt: skip
    flow = Flow()
    put(flow, request("w", tasks=tasks))
    assert [fault.code for fault in end_of(flow, "w").faults] == [code]


# -- time and people -------------------------------------------------------------------------------


def test_nothing_starts_before_its_time() -> None:
    flow = Flow()
    put(flow, request("w", not_before=START + timedelta(hours=1)))
    assert not list(flow.assigned())
    flow.clock.at += timedelta(hours=1)
    assert flow.fire_due()
    flow.drain()
    assert statuses(flow) == {"w": "completed"}


@pytest.mark.parametrize(("default", "end"), [("reject", "failed"), ("approve", "completed")])
def test_when_nobody_answers_the_default_does(default: str, end: str) -> None:
    task = {"task_id": "a", "crew": "c", "requires_approval": True}
    flow = Flow()
    put(flow, request("w", tasks=[task | {"approval_timeout_s": 5, "approval_default": default}]))
    flow.clock.at += timedelta(seconds=5)
    assert flow.fire_due()
    flow.drain()
    assert statuses(flow) == {"w": end}


def test_an_external_call_of_unknown_outcome_waits_for_a_person() -> None:
    flow = Flow()
    put(flow, request("w", inputs=json.dumps({"fail": policy.UNKNOWN_OUTCOME})))
    state = flow.state("w")
    assert state is not None
    assert state.tasks[0].status == "waiting_approval"
    command(flow, "w", Command.APPROVE, "a")
    again = list(flow.assigned())[-1]
    assert (again.attempt, again.repeat_unknown, again.journal) == (2, True, "w/a/1")
    # It is unknown again: that is asked again, and not done by the first answer.
    command(flow, "w", Command.REJECT, "a")
    assert statuses(flow) == {"w": "failed"}


def test_a_cancelled_workflow_tells_the_workers_what_to_let_go_of() -> None:
    flow = Flow()
    flow.put(REQUESTS, "w", request("w"))
    flow.handle(flow.queues[next(iter(flow.queues))].pop(0))  # assigned, and not yet run
    flow.queues = {}
    command(flow, "w", Command.CANCEL)
    topic = TOPICS.full(topology.CANCELLATIONS)
    told = [CODEC.decode(out.value, TaskCancelled) for out in flow.sent if out.topic == topic]
    assert [each.assignment_id for each in told] == ["w/a/1"]
    assert statuses(flow) == {"w": "cancelled"}


# -- admission -------------------------------------------------------------------------------------


def hold(flow: Flow, *names: str) -> None:
    """Workflows that run until they are cancelled: their task waits for approval."""
    task = {"task_id": "a", "crew": "c", "requires_approval": True}
    for name in names:
        put(flow, request(name, tasks=[task]))


def admission(flow: Flow, name: str) -> str:
    state = flow.state(name)
    assert state is not None
    return str(state.admission)


def test_over_its_limit_a_tenants_workflow_waits_for_a_place() -> None:
    flow = limited(max_running_workflows=2)
    hold(flow, "w1", "w2", "w3", "w4")
    assert [admission(flow, f"w{n}") for n in (1, 2, 3, 4)] == ["granted"] * 2 + ["waiting"] * 2
    command(flow, "w1", Command.CANCEL)
    assert [admission(flow, f"w{n}") for n in (3, 4)] == ["granted", "waiting"]
    put(flow, request("other", tenant_id="u"))
    assert statuses(flow)["other"] == "completed", "other tenants are not held"


def test_one_that_leaves_the_queue_is_passed_over_and_may_come_back() -> None:
    flow = limited(max_running_workflows=1)
    hold(flow, "w1", "w2", "w3")
    command(flow, "w2", Command.CANCEL)
    command(flow, "w1", Command.CANCEL)
    assert admission(flow, "w3") == "granted"
    command(flow, "w2", Command.RETRY)
    assert admission(flow, "w2") == "waiting"
    command(flow, "w3", Command.CANCEL)
    assert admission(flow, "w2") == "granted"


def test_over_its_limit_a_request_may_be_rejected_instead() -> None:
    flow = limited(max_open_tasks=1, when_over="reject")
    hold(flow, "w1", "w2")
    assert statuses(flow) == {"w2": "rejected"}
    assert [fault.code for fault in end_of(flow, "w2").faults] == ["tenant.over_quota"]


def test_a_tenant_without_limits_asks_nobody() -> None:
    flow = limited(max_running_workflows=1)
    put(flow, request("free", tenant_id="u"))
    assert admission(flow, "free") == Admission.UNLIMITED
    assert not any(out.topic == TOPICS.full(topology.SIGNALS) for out in flow.sent)
