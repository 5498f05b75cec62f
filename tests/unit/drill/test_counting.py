"""The counts find what must not be: shown on logs in which it is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from crewstream.contracts.events import (
    Measured,
    MeasuredStatus,
    Operation,
    TaskState,
    TaskStatus,
    WorkflowFinished,
    WorkflowState,
    WorkflowStatus,
)
from crewstream.drill import counting
from crewstream.drill.recovery import silence_s
from crewstream.drill.topic_log import Entry, Log
from crewstream.records import Inbound

AT = datetime(2026, 1, 1, tzinfo=UTC)
RECORD = Inbound("t", 0, 0, b"w", b"", (), 0)


def state(version: int, status: WorkflowStatus, task: TaskStatus) -> Entry[WorkflowState]:
    row = WorkflowState.model_validate(
        {
            "workflow_id": "w",
            "tenant_id": "drill",
            "project_id": "drill",
            "version": version,
            "status": status,
            "requested_at": AT,
            "accepted_at": AT,
            "updated_at": AT,
            "tasks": [TaskState(task_id="a", project_id="drill", status=task, attempt=1)],
        }
    )
    return Entry(RECORD, row)


def end(status: WorkflowStatus = WorkflowStatus.COMPLETED) -> Entry[WorkflowFinished]:
    finished = WorkflowFinished(
        workflow_id="w",
        tenant_id="drill",
        project_id="drill",
        status=status,
        requested_at=AT,
        finished_at=AT,
    )
    return Entry(RECORD, finished)


def log(**known: Any) -> Log:
    names = ("requests", "assignments", "results", "states", "ends", "measured", "letters")
    return Log(**{**dict.fromkeys(names, ()), **known})


RUNNING = state(1, WorkflowStatus.RUNNING, TaskStatus.ASSIGNED)
DONE = state(2, WorkflowStatus.COMPLETED, TaskStatus.SUCCEEDED)
ASKED = ["w"]


def test_a_workflow_that_ended_once_is_good() -> None:
    counts = counting.workflows(log(states=[RUNNING, DONE], ends=[end()]), ASKED)
    assert (counts.accepted, counts.ended) == (1, 1)
    wrong = (counts.lost, counts.ended_twice, counts.applied_twice, counts.unsuccessful)
    assert not any(wrong)


def test_a_workflow_without_an_end_is_lost() -> None:
    assert counting.workflows(log(states=[RUNNING]), ASKED).lost == ["w"]
    # Neither is the result alone enough: the state has to say so as well.
    assert counting.workflows(log(states=[RUNNING], ends=[end()]), ASKED).lost == ["w"]


def test_two_results_are_an_end_too_many() -> None:
    counts = counting.workflows(log(states=[RUNNING, DONE], ends=[end(), end()]), ASKED)
    assert counts.ended_twice == ["w"]


def test_a_result_that_is_applied_again_is_found() -> None:
    again = [
        RUNNING,
        DONE,
        state(3, WorkflowStatus.RUNNING, TaskStatus.ASSIGNED),
        state(4, WorkflowStatus.COMPLETED, TaskStatus.SUCCEEDED),
    ]
    counts = counting.workflows(log(states=again, ends=[end()]), ASKED)
    assert counts.applied_twice == ["w/a/1"]
    assert counts.ended_twice == ["w"]


def test_two_owners_of_a_row_are_found_by_its_version() -> None:
    counts = counting.workflows(log(states=[RUNNING, DONE, DONE], ends=[end()]), ASKED)
    assert counts.applied_twice == ["w version 2"]


def test_an_end_that_nothing_asked_for_is_found() -> None:
    ended = [RUNNING, state(2, WorkflowStatus.FAILED, TaskStatus.FAILED)]
    counts = counting.workflows(log(states=ended, ends=[end(WorkflowStatus.FAILED)]), ASKED)
    assert counts.unsuccessful == ["w: failed"]


def test_a_measurement_that_comes_again_is_the_same_one() -> None:
    def call(event_id: str, **more: Any) -> Entry[Measured]:
        common: dict[str, Any] = {"operation": Operation.CHAT, "status": MeasuredStatus.OK}
        event = Measured(
            event_id=event_id,
            occurred_at=AT,
            tenant_id="drill",
            project_id="drill",
            **{**common, **more},
        )
        return Entry(RECORD, event)

    found = [
        call("1", input_tokens=5),
        call("1", input_tokens=5),
        call("2", replayed=True),
        call("3", status=MeasuredStatus.ERROR),
    ]
    assert counting.measurements(log(measured=found)) == counting.Measurements(1, 1, 5)
    assert counting.rows(log(measured=found)) == counting.Rows(3, 0, 0)


def test_the_longest_silence_is_the_one_that_began_before_the_fault_had_healed() -> None:
    marks_s = [9.0, 10.5, 14.0, 15.0, 30.0]
    assert silence_s(10.0, 13.0, marks_s) == 4.0
    assert silence_s(10.0, 16.0, marks_s) == 20.0
    assert silence_s(31.0, 32.0, marks_s) is None
