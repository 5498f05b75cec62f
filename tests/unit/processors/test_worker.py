"""An assignment is run by one worker, and answered by its first outcome."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from typing_extensions import override

from crewstream import topology
from crewstream.contracts.events import TaskAssigned, TaskFinished
from crewstream.errors import NotNow, Transient
from crewstream.processors.worker import Worker
from crewstream.records import Inbound, Outbound
from crewstream.testing import EchoRuns, FixedClock, MemoryMeter, MemoryOutcomes
from crewstream_agents.spec import (
    Call,
    Candidate,
    CrewOutcome,
    CrewTask,
    Failure,
    Operation,
    Status,
)
from support.flow import CODEC, START, TOPICS

ASSIGNED = TaskAssigned.model_validate(
    {
        "assignment_id": "w/t/1",
        "workflow_id": "w",
        "task_id": "t",
        "attempt": 1,
        "tenant_id": "acme",
        "project_id": "bizoholic",
        "crew": "c",
        "task_type": "",
        "workflow_type": "",
        "assigned_at": START,
    }
)


class Runs(EchoRuns):
    """Runs that held a lease of their journal."""

    def __init__(self, **changes: Any) -> None:
        super().__init__()
        self.asked: list[CrewTask] = []
        self._changes = {"epoch": 2, "covered": 5, **changes}

    @override
    async def run(self, task: CrewTask) -> CrewOutcome:
        self.asked.append(task)
        return replace(await super().run(task), **self._changes)


class Known:
    """Standings that were asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []

    async def of(self, project_id: str, crew: str, task_type: str) -> Mapping[str, Candidate]:
        self.asked.append((project_id, crew, task_type))
        return {"/a": Candidate("a", 0.9, 12)}


class Counts(MemoryMeter):
    """Counts of tools with their labels."""

    def __init__(self) -> None:
        super().__init__()
        self.tools: Counter[tuple[str, str]] = Counter()

    @override
    def count(self, name: str, by: float = 1, **labels: str) -> None:
        super().count(name, by, **labels)
        if name == "crewstream_tool_calls_total":
            self.tools[labels["tool"], labels["result"]] += 1


def handle(
    runs: EchoRuns,
    outcomes: MemoryOutcomes,
    task: TaskAssigned,
    meter: MemoryMeter | None = None,
    standings: Known | None = None,
) -> Sequence[Outbound]:
    worker = Worker(
        CODEC,
        TOPICS,
        runs=runs,
        outcomes=outcomes,
        clock=FixedClock(START),
        meter=meter or MemoryMeter(),
        name="test",
        standings=standings,
    )
    topic = TOPICS.full(topology.TASKS, "bizoholic")
    record = Inbound(topic, 0, 0, b"w/t", CODEC.encode(task), (), 0)
    return asyncio.run(worker.handle(record))


def result(sent: Sequence[Outbound]) -> TaskFinished:
    return CODEC.decode(sent[-1].value, TaskFinished)


def test_an_outcome_says_what_of_its_journal_it_covers() -> None:
    outcomes = MemoryOutcomes(epochs={"w/t/1": 2})

    assert result(handle(Runs(), outcomes, ASSIGNED)).status == "succeeded"
    assert outcomes.reported == {"w/t/1": 5}


def test_a_run_that_was_taken_over_sends_nothing() -> None:
    fenced = Failure("run.fenced", "another run has the journal", retryable=True)
    outcomes = MemoryOutcomes()

    with pytest.raises(Transient, match="another run"):
        handle(Runs(status=Status.FAILED, failure=fenced), outcomes, ASSIGNED)
    assert not outcomes.kept


def test_a_run_gets_the_standings_of_its_crew() -> None:
    runs, known = Runs(), Known()

    handle(runs, MemoryOutcomes(), ASSIGNED, standings=known)

    assert known.asked == [("bizoholic", "c", "")]
    assert runs.asked[0].standings == {"/a": Candidate("a", 0.9, 12)}


def test_a_run_whose_agents_are_all_busy_is_no_outcome_and_tried_again() -> None:
    busy = Failure("agent.busy", "a has as many tasks as it may have", retryable=True)
    outcomes = MemoryOutcomes()

    with pytest.raises(NotNow, match="as many tasks"):
        handle(Runs(status=Status.FAILED, failure=busy), outcomes, ASSIGNED)
    assert not outcomes.kept


def test_an_outcome_whose_journal_was_taken_over_sends_nothing() -> None:
    outcomes = MemoryOutcomes(epochs={"w/t/1": 3})

    with pytest.raises(Transient):
        handle(Runs(), outcomes, ASSIGNED)
    assert not outcomes.kept


def test_the_first_outcome_is_what_is_sent() -> None:
    class Overtaken(MemoryOutcomes):
        """Somebody else's outcome arrives while this one is being made."""

        @override
        async def get(self, assignment_id: str) -> bytes | None:
            return None

    outcomes = Overtaken()
    first = handle(Runs(output="first"), outcomes, ASSIGNED)
    second = handle(Runs(output="second"), outcomes, ASSIGNED)

    assert result(first).output == result(second).output == "first"


def test_an_attempt_whose_deadline_has_passed_is_not_run_but_accounted_for() -> None:
    runs = Runs()

    late = ASSIGNED.model_copy(update={"deadline_at": START - timedelta(seconds=1)})
    finished = result(handle(runs, MemoryOutcomes(), late))

    assert runs.asked[0].deadline_s <= 0
    assert finished.failure is not None
    assert finished.failure.error_type == "task.timeout"


def test_calls_of_tools_are_counted_by_how_they_ended_and_replays_are_not() -> None:
    def call(error_type: str = "", *, replayed: bool = False, **attributes: str) -> Call:
        return Call(
            *(0, Operation.EXECUTE_TOOL, START, 250.0),
            tool="price",
            error_type=error_type,
            attributes=attributes,
            replayed=replayed,
        )

    calls = [
        call(),
        call(cache="miss"),
        call(cache="hit"),
        call("tool.failed"),
        call("tool.not_allowed", refused="true"),
        call(replayed=True),
    ]
    meter = Counts()

    handle(Runs(calls=calls), MemoryOutcomes(epochs={"w/t/1": 2}), ASSIGNED, meter)

    assert meter.tools == {
        ("price", "ok"): 2,
        ("price", "cached"): 1,
        ("price", "failed"): 1,
        ("price", "refused"): 1,
    }
    assert meter.values["crewstream_tool_seconds"] == [0.25] * 3
