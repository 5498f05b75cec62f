"""Crews that are cut into their tasks: which can be, what becomes of them, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from crewstream import topology
from crewstream.contracts.events import (
    Coordination,
    CrewDescribed,
    TaskDescribed,
    TaskFinished,
    WorkflowRequested,
    WorkflowStatus,
)
from crewstream.domain import plan
from crewstream.domain.grain import CrewShape, shape_of
from crewstream.domain.plan import Rules, cut, faults, find_cycle
from crewstream.testing import EchoRuns
from crewstream_agents.spec import CrewOutcome, CrewOutput, CrewTask, TaskOutput
from support.flow import CODEC, START, TOPICS, Flow
from support.requested import MEGABYTE

REQUESTS = TOPICS.full(topology.REQUESTS, "bizoholic")
TWO = CrewShape({"x": (), "y": ("x",)})


def request(*tasks: dict[str, Any], **changes: Any) -> WorkflowRequested:
    asked = {
        "workflow_id": "w",
        "tenant_id": "t",
        "project_id": "bizoholic",
        "requested_at": START,
        "tasks": [{"crew": "c", **task} for task in tasks],
        **changes,
    }
    return WorkflowRequested.model_validate(asked)


def rules(shape: CrewShape = TWO, **more: Any) -> Rules:
    crews = {"c": frozenset(shape.tasks)}
    return Rules(
        {"bizoholic": crews, "coreldove": None}, shapes={"bizoholic": {"c": shape}}, **more
    )


def whole(task_id: str = "a", **changes: Any) -> dict[str, Any]:
    return {"task_id": task_id, "grain": "tasks", **changes}


def edges(asked: WorkflowRequested) -> dict[str, list[str]]:
    return {task.task_id: list(task.depends_on) for task in asked.tasks}


@pytest.mark.parametrize(
    ("coordination", "before_x", "after"),
    [
        ("sequential", ["before"], ["a.x", "a.y"]),
        ("parallel", [], []),
        ("dependencies", ["before"], ["a.x", "a.y"]),
    ],
)
def test_parts_take_the_place_of_their_task_in_the_graph(
    coordination: str, before_x: list[str], after: list[str]
) -> None:
    explicit = coordination == "dependencies"
    asked = request(
        {"task_id": "before"},
        whole(depends_on=["before"] if explicit else []),
        {"task_id": "after", "depends_on": ["a"] if explicit else []},
        coordination=coordination,
    )
    assert faults(asked, rules(), "bizoholic") == ()
    parts = cut(asked, rules())
    assert parts.coordination == Coordination.DEPENDENCIES
    assert edges(parts) == {
        "before": [],
        "a.x": before_x,
        "a.y": [*before_x, "a.x"],
        "after": after,
    }
    assert [(t.task_type, t.part_of) for t in parts.tasks[1:3]] == [("x", "a"), ("y", "a")]


def test_what_is_asked_of_a_crew_is_asked_once() -> None:
    asked = request(
        whole(
            requires_approval=True, expected_output="Three lines.", agent="ignored", max_attempts=2
        )
    )
    x, y = cut(asked, rules()).tasks
    assert [(t.requires_approval, t.expected_output) for t in (x, y)] == [
        (True, ""),
        (False, "Three lines."),
    ]
    assert [(t.agent, t.max_attempts) for t in (x, y)] == [("", 2), ("", 2)]


def test_a_single_task_of_a_crew_is_not_cut_and_nobody_can_claim_to_be_a_part() -> None:
    single = request(whole(task_type="x"), {"task_id": "b"})
    assert cut(single, rules()) is single
    claimed = cut(request({"task_id": "a", "task_type": "x", "part_of": "b"}), rules())
    assert claimed.tasks[0].part_of == ""


@pytest.mark.parametrize(
    ("tasks", "known", "code", "path"),
    [
        ([whole(project_id="coreldove")], rules(), "task.unknown_shape", "tasks[0].grain"),
        ([whole()], rules(CrewShape({"x": ()}, "flow")), "task.not_divisible", "tasks[0].grain"),
        (
            [whole()],
            rules(CrewShape({"x": ()}, process="hierarchical")),
            "task.not_divisible",
            "tasks[0].grain",
        ),
        ([whole()], rules(CrewShape({})), "task.not_divisible", "tasks[0].grain"),
        (
            [whole()],
            rules(CrewShape({"x": ("y",), "y": ()})),
            "task.not_divisible",
            "tasks[0].grain",
        ),
        ([whole(crew="nobody")], rules(), "task.unknown_crew", "tasks[0].crew"),
        ([{"task_id": "a.x"}, whole()], rules(), "task.duplicate_id", "tasks[1].grain"),
        (
            [whole("a"), whole("a.b", crew="d")],
            Rules(
                {"bizoholic": {"c": frozenset({"b.x"}), "d": frozenset({"x"})}},
                shapes={"bizoholic": {"c": CrewShape({"b.x": ()}), "d": CrewShape({"x": ()})}},
            ),
            "task.duplicate_id",
            "tasks[1].grain",
        ),
        ([whole("a" * 127)], rules(), "task.invalid_id", "tasks[0].grain"),
        ([whole("a"), whole("b")], rules(max_tasks=3), "tasks.too_many", "tasks"),
    ],
)
def test_a_crew_that_cannot_be_cut_is_a_fault(
    tasks: list[dict[str, Any]], known: Rules, code: str, path: str
) -> None:
    found = faults(request(*tasks), known, "bizoholic")
    assert {(fault.code, fault.path) for fault in found} == {(code, path)}


def test_inputs_that_no_record_can_take_once_for_each_part_are_a_fault() -> None:
    many = CrewShape({f"t{n}": () for n in range(12)})
    flow = Flow(rules=rules(many))
    inputs = json.dumps({"text": "x" * (MEGABYTE - 100)})
    flow.put(REQUESTS, "w", request(whole(inputs=inputs)))
    flow.drain()
    (finished,) = flow.finished()
    assert finished.status == WorkflowStatus.REJECTED
    assert [fault.code for fault in finished.faults] == ["inputs.too_large"]
    assert "put them into the workflow's" in finished.faults[0].message


def test_a_request_stays_as_it_was_cut_whatever_is_announced_later() -> None:
    flow = Flow(rules=rules())
    flow.put(REQUESTS, "w", request(whole()))
    (record,) = flow.queues.popitem()[1]
    flow.handle(record)
    flow.rules = rules(CrewShape({"other": ()}))
    flow.drain()

    (finished,) = flow.finished()
    assert [task.task_id for task in finished.tasks] == ["a.x", "a.y"]
    first, second = flow.assigned()
    assert (first.task_type, first.part_of, first.upstream) == ("x", "a", ())
    (context,) = second.upstream
    assert (context.task_type, context.context, context.task_id) == ("x", True, "a.x")


def test_the_same_request_again_is_no_other_one_though_it_was_cut() -> None:
    flow = Flow(rules=rules())
    for _ in range(2):
        flow.put(REQUESTS, "w", request(whole()))
        flow.drain()
    assert len(list(flow.finished())) == 1
    assert not flow.letters()


@given(
    context=st.lists(st.sets(st.integers(0, 5)), min_size=1, max_size=6),
    earlier=st.sets(st.sampled_from(["p", "q"])),
)
def test_whatever_is_cut_has_no_cycle_and_depends_on_what_there_is(
    context: list[set[int]], earlier: set[str]
) -> None:
    shape = CrewShape(
        {f"t{n}": tuple(f"t{d}" for d in wanted if d < n) for n, wanted in enumerate(context)}
    )
    asked = request(
        {"task_id": "p"},
        whole("q", depends_on=["p"]),
        whole("r", depends_on=sorted(earlier)),
        coordination="dependencies",
    )
    parts = cut(asked, rules(shape))
    found = edges(parts)
    assert len(found) == len(parts.tasks) == 1 + 2 * len(context)
    assert all(set(names) <= found.keys() for names in found.values())
    assert not find_cycle(found)
    assert len(plan.tasks_of(parts)) == len(parts.tasks)


def test_a_shape_is_what_workers_announce() -> None:
    known: dict[str, Any] = {"description": "", "expected_output": "", "agent": ""}
    tasks = (
        TaskDescribed(task_type="x", **known),
        TaskDescribed(task_type="y", depends_on=("x",), **known),
    )
    assert shape_of(CrewDescribed(crew="c", description="", tasks=tasks)) == TWO


class Talkative(EchoRuns):
    """Brings an output of so many characters, said again in CrewAI's names."""

    def __init__(self, said: int, of_tasks: int, *, structured: int = 0) -> None:
        super().__init__()
        told = TaskOutput("n", "d", "a", "y" * of_tasks)
        as_json = f'"{"z" * structured}"' if structured else None
        self._output = "x" * said
        self._crew_output = CrewOutput(self._output, as_json, None, [told])

    @override
    async def run(self, task: CrewTask) -> CrewOutcome:
        outcome = await super().run(task)
        return replace(outcome, output=self._output, crew_output=self._crew_output)


@pytest.mark.parametrize(
    ("runs", "kept"),
    [
        (Talkative(MEGABYTE, MEGABYTE), (True, True, True)),
        (Talkative(MEGABYTE, 3 * MEGABYTE), (True, True, False)),
        (Talkative(MEGABYTE, 0, structured=3 * MEGABYTE), (True, True, False)),
        (Talkative(3 * MEGABYTE, 0), (True, False, False)),
        (Talkative(5 * MEGABYTE, 0), (False, False, False)),
    ],
)
def test_what_is_too_large_loses_first_what_is_said_twice(
    runs: Talkative, kept: tuple[bool, bool, bool]
) -> None:
    flow = Flow(runs=runs)
    flow.put(REQUESTS, "w", request({"task_id": "a"}))
    flow.drain()
    results = [out for out in flow.sent if out.topic == TOPICS.full(topology.RESULTS)]
    (result,) = (CODEC.decode(out.value, TaskFinished) for out in results)
    crew = result.crew_output
    assert (bool(result.output), crew is not None, bool(crew and crew.tasks_output)) == kept
    (finished,) = flow.finished()
    fits = finished.status == WorkflowStatus.COMPLETED
    assert fits == kept[0]


def test_a_workflow_whose_results_are_too_large_together_keeps_their_outputs() -> None:
    flow = Flow(runs=Talkative(MEGABYTE, MEGABYTE))
    flow.put(REQUESTS, "w", request(*({"task_id": f"t{n}"} for n in range(4))))
    flow.drain()
    (finished,) = flow.finished()
    assert finished.status == WorkflowStatus.COMPLETED
    assert {len(task.output) for task in finished.tasks} == {MEGABYTE}
    assert {task.crew_output for task in finished.tasks} == {None}
