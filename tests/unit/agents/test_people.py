"""Crews that ask people: the workflow waits, and goes on with what they say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from crewai.core.providers import human_input
from crewai.flow.flow import Flow as CrewFlow
from crewai.flow.flow import listen, start
from crewai.flow.human_feedback import human_feedback
from crewai.hooks.dispatch import HookAborted

from crewstream import topology
from crewstream.contracts.events import (
    Command,
    Outcome,
    TaskFinished,
    TaskState,
    TaskStatus,
    WorkflowCommanded,
    WorkflowRequested,
    WorkflowStatus,
)
from crewstream_agents import people
from crewstream_agents.cancellation import StopFlag
from crewstream_agents.executor import EXECUTOR_SETTING, choose
from crewstream_agents.failures import RunRefused
from crewstream_agents.isolation import isolate
from support.crews import Drafts, RealRuns, reviewed, rules
from support.flow import CODEC, START, TOPICS, Flow

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

EXECUTORS = ["lean", "stock"]


def asking(executor: str, **more: Any) -> tuple[Flow, RealRuns]:
    isolate()
    runs = RealRuns(
        lambda: reviewed(**more),
        lambda role: Drafts(model=f"scripted/{role}"),
        {EXECUTOR_SETTING: executor},
    )
    return Flow(runs=runs, rules=rules({"write": (), "edit": ("write",)})), runs


def submitted(flow: Flow, **changes: Any) -> None:
    asked = {"task_id": "post", "crew": "c", "max_attempts": 1, **changes}
    request = {"workflow_id": "w", "tenant_id": "t", "project_id": "bizoholic", "tasks": [asked]}
    event = WorkflowRequested.model_validate({**request, "requested_at": START})
    flow.put(TOPICS.full(topology.REQUESTS, "bizoholic"), "w", event)
    flow.drain()


def commanded(
    flow: Flow, command: Command, number: int, task_id: str = "post", **more: Any
) -> None:
    asked = WorkflowCommanded(
        command_id=f"c{number}", workflow_id="w", command=command, task_id=task_id,
        issued_at=START, **more,
    )  # fmt: skip
    flow.put(TOPICS.full(topology.COMMANDS), "w", asked)
    flow.drain()


def task_of(flow: Flow) -> TaskState:
    state = flow.state("w")
    assert state is not None
    return state.tasks[0]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_crew_waits_for_a_person_and_goes_on_with_what_is_said(executor: str) -> None:
    flow, runs = asking(executor)
    submitted(flow)
    waiting = task_of(flow)
    assert waiting.status == TaskStatus.WAITING_APPROVAL
    assert waiting.failure is not None
    assert waiting.failure.error_type == people.INPUT_WANTED
    assert waiting.failure.message.endswith("to this:\nscripted/Write draft 1")

    commanded(flow, Command.APPROVE, 1, feedback="Shorter.")
    assert task_of(flow).failure.message.endswith("scripted/Write draft 2")  # type: ignore[union-attr] # it waits
    commanded(flow, Command.APPROVE, 2)

    (finished,) = flow.finished()
    assert finished.status == WorkflowStatus.COMPLETED
    assert [task.answers for task in runs.tasks] == [(), ("Shorter.",), ("Shorter.", "")]
    assert {task.journal for task in runs.tasks} == {"w/post/1"}
    crew_output = finished.tasks[0].crew_output
    assert crew_output is not None
    assert [output.raw for output in crew_output.tasks_output] == [
        "scripted/Write draft 2",
        "scripted/Edit draft 1",
    ]
    assert "Shorter." in runs.asked[-2]


def test_whoever_asks_has_not_failed() -> None:
    flow, _ = asking("lean")
    submitted(flow)

    results = [out for out in flow.sent if out.topic == TOPICS.full(topology.RESULTS)]
    (result,) = (CODEC.decode(out.value, TaskFinished) for out in results)
    assert (result.status, result.output) == (Outcome.CANCELLED, "scripted/Write draft 1")


def test_a_crew_that_asks_can_be_rejected() -> None:
    flow, _ = asking("lean")
    submitted(flow)
    commanded(flow, Command.REJECT, 1, reason="No.")

    (finished,) = flow.finished()
    assert finished.failure is not None
    assert (finished.status, finished.failure.error_type) == (
        WorkflowStatus.FAILED,
        "approval.rejected",
    )


@pytest.mark.parametrize(
    ("default", "status"),
    [("approve", WorkflowStatus.COMPLETED), ("reject", WorkflowStatus.FAILED)],
)
def test_a_crew_that_nobody_answers_goes_on_as_the_request_says(
    default: str, status: WorkflowStatus
) -> None:
    flow, _ = asking("lean")
    submitted(flow, approval_timeout_s=60.0, approval_default=default)
    flow.clock.move(61)
    assert flow.fire_due()
    flow.drain()

    assert [finished.status for finished in flow.finished()] == [status]


@pytest.mark.parametrize(
    ("feedback", "notice"), [("x" * 4_001, "4001 characters"), ("y", "asks for no feedback")]
)
def test_feedback_that_cannot_be_taken_is_refused_with_a_reason(feedback: str, notice: str) -> None:
    flow, _ = asking("lean")
    submitted(flow, requires_approval="no feedback" in notice)
    commanded(flow, Command.APPROVE, 1, feedback=feedback)

    state = flow.state("w")
    assert state is not None
    assert notice in state.notice
    assert task_of(flow).status == TaskStatus.WAITING_APPROVAL


def test_a_part_of_a_crew_asks_for_itself() -> None:
    flow, _ = asking("lean")
    submitted(flow, grain="tasks")
    commanded(flow, Command.APPROVE, 1, "post.write", feedback="Shorter.")
    commanded(flow, Command.APPROVE, 2, "post.write")

    (finished,) = flow.finished()
    assert [task.output for task in finished.tasks] == [
        "scripted/Write draft 2",
        "scripted/Edit draft 1",
    ]


def test_tasks_that_ask_at_once_are_answered_one_by_one() -> None:
    flow, _ = asking("lean", at_once=True)
    submitted(flow)
    for number in range(4):
        failure = task_of(flow).failure
        assert failure is not None
        first = failure.message.endswith("draft 1")
        commanded(flow, Command.APPROVE, number, feedback="Again." if first else "")

    (finished,) = flow.finished()
    crew_output = finished.tasks[0].crew_output
    assert crew_output is not None
    assert [output.raw for output in crew_output.tasks_output] == [
        "scripted/Left draft 2",
        "scripted/Right draft 2",
        "scripted/Edit draft 1",
    ]


def at_desk(answers: list[str], work: Callable[[], Any]) -> tuple[Any, people.Desk]:
    flag = StopFlag()
    desk = people.Desk(answers, flag)
    with flag.watched(), people.at(desk):
        try:
            return work(), desk
        except HookAborted:
            return flag.error, desk


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("start_crew", ["kickoff", "akickoff"])
def test_every_way_to_run_a_crew_asks(executor: str, start_crew: str) -> None:
    isolate()

    def run() -> Any:
        crew = reviewed()
        for agent in crew.agents:
            agent.llm = Drafts(model="scripted/x")
        choose(crew.agents, {EXECUTOR_SETTING: executor})
        result = getattr(crew, start_crew)()
        return asyncio.run(result) if start_crew == "akickoff" else result

    stopped, desk = at_desk(["Shorter."], run)
    assert isinstance(stopped, RunRefused)
    assert (stopped.failure.error_type, desk.draft) == (people.INPUT_WANTED, "scripted/x draft 2")
    result, _ = at_desk(["Shorter.", " "], run)
    assert result.tasks_output[0].raw == "scripted/x draft 2"


class Reviewed(CrewFlow[Any]):
    """A flow that has its work looked at, and asks for a word."""

    @start()
    @human_feedback(message="Good?")
    def draft(self) -> str:
        return "a draft"

    @listen(draft)
    def title(self, result: Any) -> str:
        return f"{result.feedback}: {self.ask('Which title?')}"


def test_flows_ask_as_crews_do() -> None:
    isolate()
    people.install()

    stopped, desk = at_desk([], lambda: Reviewed().kickoff())
    assert isinstance(stopped, RunRefused)
    assert desk.draft == "Good?\n\na draft"
    stopped, desk = at_desk(["Fine"], lambda: Reviewed().kickoff())
    assert desk.draft == "Which title?"
    result, _ = at_desk(["Fine", "Bees"], lambda: Reviewed().kickoff())
    assert result == "Fine: Bees"


def test_the_protocol_of_feedback_is_as_it_is_taken_to_be() -> None:
    wanted: Mapping[Any, set[str]] = {
        human_input.ExecutorContext: {"_invoke_loop", "_format_feedback_message"},
        human_input.AsyncExecutorContext: {"_ainvoke_loop"},
        human_input.HumanInputProvider: {
            "setup_messages",
            "post_setup_messages",
            "handle_feedback",
            "handle_feedback_async",
        },
    }
    for protocol, names in wanted.items():
        assert names <= set(vars(protocol)), f"crewai's {protocol.__name__} has changed"
