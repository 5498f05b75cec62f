"""A run that does more than it may ends, whatever its crew, its models and its tools think."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import crewkeeper
import pytest
from crewai import Agent, Crew, Process, Task
from crewai.hooks.dispatch import HookAborted
from crewai.tools import BaseTool
from crewkeeper.crew import assign
from crewsample.model import ScriptedModel
from typing_extensions import override

from crewstream_agents.allowance import Allowance
from crewstream_agents.cancellation import StopFlag
from crewstream_agents.isolation import isolate
from crewstream_agents.journal import seam
from crewstream_agents.run import Run
from crewstream_agents.spec import CrewOutcome, CrewTask, Operation, RunLimits, Status
from crewstream_agents.templates import Templates

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*prevent checkpointing:UserWarning"),
]

LOOP = CrewTask(
    assignment_id="w/t/1",
    workflow_id="w",
    task_id="t",
    attempt=1,
    tenant_id="acme",
    project_id="keeper",
    crew="keep",
    task_type="keep",
    inputs={"what": "w", "calls": [["variable", {"name": str(i)}] for i in range(9)], "again": 1},
    deadline_s=30.0,
)


@pytest.fixture(autouse=True)
def _seamed() -> None:
    isolate()
    seam.install()


async def execute(task: CrewTask, **environ: str) -> CrewOutcome:
    return await Run(task).execute(Templates({"keeper": crewkeeper.PROJECT}), assign, environ)


def made(outcome: CrewOutcome, operation: Operation) -> int:
    return sum(call.operation is operation for call in outcome.calls)


@pytest.mark.parametrize("executor", ["lean", "stock"])
@pytest.mark.parametrize(
    ("limits", "said", "chats", "tools"),
    [
        (RunLimits(max_llm_calls=5), "5 model calls of a run", 5, 5),
        (RunLimits(max_tool_calls=3), "3 tool calls of a run", 4, 3),
        (RunLimits(max_iterations=4), "4 model calls of 'Keeper' at one task", 4, 4),
    ],
)
async def test_a_looping_model_is_stopped(
    executor: str, limits: RunLimits, said: str, chats: int, tools: int
) -> None:
    outcome = await execute(replace(LOOP, limits=limits), CREWSTREAM_EXECUTOR=executor)

    assert outcome.status is Status.FAILED
    assert outcome.failure is not None
    assert (outcome.failure.error_type, outcome.failure.retryable) == ("limit.exceeded", False)
    assert said in outcome.failure.message
    assert made(outcome, Operation.CHAT) == chats
    done = [call for call in outcome.calls if call.tool and not call.error_type]
    assert len(done) == tools


async def test_without_limits_of_ours_the_loop_ends_where_crewai_ends_it() -> None:
    outcome = await execute(LOOP)

    assert outcome.status is Status.SUCCEEDED
    assert made(outcome, Operation.CHAT) > 20


def delegating_for_ever() -> Crew:
    def plan(_: str, tools: list[str]) -> list[tuple[str, dict[str, Any]]]:
        if "delegate_work_to_coworker" not in tools:
            return []
        steps = [{"coworker": "Writer", "task": str(i), "context": "c"} for i in range(10_000)]
        return [("delegate_work_to_coworker", step) for step in steps]

    writer = Agent(role="Writer", goal="g", backstory="b", llm=ScriptedModel(model="scripted/w"))
    return Crew(
        agents=[writer],
        tasks=[Task(description="d", expected_output="e")],
        process=Process.hierarchical,
        manager_llm=ScriptedModel(model="scripted/manager", plan=plan),
    )


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (RunLimits(max_tool_calls=6), "6 tool calls"),
        (RunLimits(max_llm_calls=9), "9 model calls"),
        (RunLimits(max_iterations=3), "at one task"),
    ],
)
def test_a_manager_that_delegates_for_ever_is_stopped(limits: RunLimits, said: str) -> None:
    flag = StopFlag()

    with flag.watched(), Allowance(limits, flag).watched(), pytest.raises(HookAborted, match=said):
        delegating_for_ever().kickoff()


class Doubled(ScriptedModel):
    """A model class whose methods call those of its parent, as many do."""

    @override
    def call(self, messages: Any, tools: Any = None, *_: Any, **known: Any) -> Any:
        return super().call(messages, tools, **known)

    @override
    async def acall(self, messages: Any, tools: Any = None, *_: Any, **known: Any) -> Any:
        return await super().acall(messages, tools, **known)


class Wrapped(BaseTool):
    """A tool that asks a model in its own name."""

    name: str = "wrapped"
    description: str = "d"

    @override
    def _run(self) -> str:
        return str(Doubled(model="scripted/inner").call("inner"))


@pytest.fixture
def flag() -> Iterator[StopFlag]:
    raised = StopFlag()
    with Allowance(RunLimits(max_llm_calls=2, max_tool_calls=2), raised).watched():
        yield raised


def test_a_call_is_counted_once_though_it_passes_several_methods(flag: StopFlag) -> None:
    Doubled(model="scripted/x").call("one")
    asyncio.run(Doubled(model="scripted/x").acall("two"))

    with pytest.raises(HookAborted):
        Doubled(model="scripted/x").call("three")
    assert flag.raised


def test_a_model_that_a_tool_asks_is_counted_as_well(flag: StopFlag) -> None:
    tool = Wrapped().to_structured_tool()
    tool.invoke({})
    tool.invoke({})

    assert not flag.raised
    with pytest.raises(HookAborted, match="2 model calls"):
        Doubled(model="scripted/x").call("three")


def test_what_runs_outside_of_a_run_is_not_counted() -> None:
    assert Doubled(model="scripted/x").call("one") == "Thought: I know\nFinal Answer: done"
