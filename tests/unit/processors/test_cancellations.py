"""What is cancelled is let go of, ended where it runs, and not begun later."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from crewstream.contracts.codec import Codec
from crewstream.contracts.events import TaskAssigned, TaskCancelled
from crewstream.contracts.schemas import Schemas
from crewstream.processors.cancellations import KEPT, MOST, Cancellations, WantedRuns
from crewstream.processors.intake import Intake
from crewstream.records import Inbound
from crewstream.testing import EchoRuns, FixedClock
from crewstream_agents.spec import CrewTask, Status

CODEC = Codec(Schemas.load())
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Bench:
    """Cancellations, the runs that they end, and what was let go of."""

    def __init__(self, most: int = MOST) -> None:
        self.clock, self.echo, self.withdrawn = FixedClock(NOW), EchoRuns(), list[str]()
        self.cancelled = Cancellations(CODEC, self.echo, self.clock, most)
        self.cancelled.withdraw = self.withdrawn.append
        self.runs = WantedRuns(self.echo, self.cancelled, self.clock)

    def tell(self, name: str) -> None:
        value = TaskCancelled(
            assignment_id=name,
            workflow_id="w",
            task_id="t",
            attempt=1,
            tenant_id="a",
            project_id="p",
            cancelled_at=NOW,
        )
        self.cancelled.tell(b"w", CODEC.encode(value))


@pytest.fixture
def bench() -> Bench:
    return Bench()


def task(name: str, sleep_s: float = 0.0) -> CrewTask:
    return CrewTask(
        assignment_id=name,
        workflow_id="w",
        task_id="t",
        attempt=1,
        tenant_id="a",
        project_id="p",
        crew="c",
        task_type="",
        inputs={"sleep_s": sleep_s},
        deadline_s=60.0,
    )


async def test_a_run_ends_as_cancelled_and_others_go_on(bench: Bench) -> None:
    running = asyncio.create_task(bench.runs.run(task("w/t/1", 300)))
    await asyncio.sleep(0)
    assert not bench.runs.cancel("w/other/1")
    bench.tell("w/t/1")
    assert (await running).status == Status.CANCELLED
    assert (await bench.runs.run(task("w/other/1"))).status == Status.SUCCEEDED
    assert bench.withdrawn == ["w/t/1"]


async def test_a_run_that_was_cancelled_before_does_not_begin(bench: Bench) -> None:
    bench.tell("w/t/1")
    outcome = await bench.runs.run(task("w/t/1", 300))
    assert outcome.status == Status.CANCELLED
    assert outcome.failure is not None
    assert outcome.failure.error_type == "task.cancelled"


def test_a_cancellation_is_remembered_for_an_hour(bench: Bench) -> None:
    bench.tell("w/t/1")
    bench.clock.move(KEPT.total_seconds() / 2)
    bench.tell("w/u/1")
    bench.clock.move(KEPT.total_seconds() / 2 + 1)
    bench.tell("w/v/1")
    assert [name in bench.cancelled for name in ("w/t/1", "w/u/1", "w/v/1")] == [False, True, True]


def test_no_more_are_remembered_than_fit() -> None:
    bench = Bench(most=2)
    for name in ("1", "2", "3"):
        bench.tell(name)
    assert [name in bench.cancelled for name in ("1", "2", "3")] == [False, True, True]


def test_what_is_no_cancellation_is_left_out(bench: Bench) -> None:
    bench.cancelled.tell(b"w", b"garbage")
    bench.tell("w/t/1")
    assert "w/t/1" in bench.cancelled


def test_the_window_sees_an_assignment_and_nothing_in_garbage() -> None:
    assigned = TaskAssigned(
        assignment_id="w/t/1",
        workflow_id="w",
        task_id="t",
        attempt=1,
        tenant_id="a",
        project_id="p",
        crew="c",
        assigned_at=NOW,
    )
    intake = Intake(CODEC)
    job = intake.describe(Inbound("t", 0, 0, b"w/t", CODEC.encode(assigned), (), 0))
    assert job is not None
    assert (job.name, job.tenant_id, job.project_id) == ("w/t/1", "a", "p")
    assert intake.describe(Inbound("t", 0, 1, b"w/t", b"garbage", (), 0)) is None
    assert intake.describe(Inbound("t", 0, 2, b"w/t", None, (), 0)) is None
