"""What the demo says about results."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from crewstream.cli import demo, shell
from crewstream.contracts.events import (
    Failure,
    Fault,
    TaskOutcome,
    TaskStatus,
    WorkflowFinished,
    WorkflowStatus,
)
from crewstream.requests import read_request

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def finished(status: WorkflowStatus, *tasks: TaskOutcome, fault: str = "") -> WorkflowFinished:
    return WorkflowFinished(
        workflow_id="w-1",
        tenant_id="default",
        project_id="bizoholic",
        workflow_type="campaign",
        status=status,
        requested_at=NOW,
        finished_at=NOW,
        duration_ms=2500,
        tasks=tasks,
        faults=(Fault(code="tasks.empty", message=fault),) if fault else (),
    )


def outcome(*, offline: bool = True, failure: str = "") -> TaskOutcome:
    return TaskOutcome(
        task_id="strategy",
        project_id="bizoholic",
        agent="Strategist",
        status=TaskStatus.FAILED if failure else TaskStatus.SUCCEEDED,
        model="gpt-x",
        offline=offline,
        output="A *plan*.\n",
        failure=Failure(error_type="tool.failed", message=failure) if failure else None,
    )


def test_the_examples_are_the_files_and_can_be_read() -> None:
    folder = Path(__file__).parents[3] / "examples"
    assert {name: json.dumps(each) for name, each in demo.examples().items()} == {
        file.stem: json.dumps(json.loads(file.read_text("utf-8"))) for file in folder.glob("*.json")
    }
    for each in demo.examples().values():
        assert read_request(each, tenant="t", now=NOW, unique="1").tasks


def test_a_story_tells_each_task_as_it_was_written() -> None:
    assert demo.story(finished(WorkflowStatus.COMPLETED, outcome())) == [
        "# campaign: completed in 2.5 s",
        "## strategy (bizoholic, Strategist): succeeded",
        "A *plan*.",
    ]


def test_a_failed_task_tells_why() -> None:
    failed = finished(WorkflowStatus.FAILED, outcome(failure="no data for 2031"))
    assert demo.story(failed)[-1] == "no data for 2031"
    assert demo.reason(failed) == "w-1 is failed: no data for 2031"


def test_a_rejection_tells_its_faults() -> None:
    rejected = finished(WorkflowStatus.REJECTED, fault="there is no task")
    assert demo.reason(rejected) == "w-1 is rejected: there is no task"


@pytest.mark.parametrize(
    ("offline", "said"), [(True, "No language model was used"), (False, "Language model: gpt-x.")]
)
def test_the_ending_says_what_did_the_thinking(offline: bool, said: str) -> None:
    task = outcome(offline=offline)
    assert demo.ending([finished(WorkflowStatus.COMPLETED, task)]).startswith(said)


def test_money_is_written_out() -> None:
    assert shell.escaped(Decimal("0E-9")) == "0.000000000"
