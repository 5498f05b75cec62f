"""A crew cut into its tasks does what it does as a whole: the same messages, the same outputs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from crewai import Agent, Crew, Task
from crewai.tasks.conditional_task import ConditionalTask
from crewai.tools import BaseTool
from crewsample.model import Plan, ScriptedModel
from pydantic import BaseModel
from typing_extensions import override

from crewstream import topology
from crewstream.contracts.events import Grain, WorkflowFinished, WorkflowRequested, WorkflowStatus
from crewstream_agents.executor import EXECUTOR_SETTING
from crewstream_agents.isolation import isolate
from support.crews import Asked, RealRuns, rules
from support.flow import START, TOPICS, Flow

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

REQUESTS = TOPICS.full(topology.REQUESTS, "bizoholic")


class Figures(BaseModel):
    """A structured output that shows itself in other words than its agent's."""

    total: int

    def to_markdown(self) -> str:
        return f"**{self.total}**"


class Price(BaseTool):
    """A tool that answers."""

    name: str = "price"
    description: str = "p"

    @override
    def _run(self, sku: str) -> str:
        return f"{sku}=10"


def agent(role: str, **more: Any) -> Agent:
    # A model is given by the run; CrewAI wants one at once.
    model = ScriptedModel(model="scripted/x")
    return Agent(role=role, goal="g", backstory="b {topic}", llm=model, **more)


def task(name: str, by: Agent, **more: Any) -> Task:
    kind = ConditionalTask if "condition" in more else Task
    return kind(name=name, description=f"Do {name}", expected_output="e", agent=by, **more)


def crew(*tasks: Task, **more: Any) -> Crew:
    agents = {id(each.agent): each.agent for each in tasks if each.agent is not None}
    return Crew(agents=list(agents.values()), tasks=list(tasks), **more)


def chain() -> Crew:
    one, two = agent("One"), agent("Two")
    return crew(task("a", one), task("b", two), task("c", one))


def named_context() -> Crew:
    a, b = task("a", agent("One")), task("b", agent("Two"))
    return crew(
        a, b, task("c", agent("Three"), context=[b, a]), task("d", agent("Four"), context=[])
    )


def at_once() -> Crew:
    first = task("a", agent("One"))
    b, c = (task(n, agent(n.upper()), async_execution=True) for n in "bc")
    d = task("d", agent("D"), async_execution=True, context=[first])
    return crew(first, b, c, d, task("e", agent("End")))


def structured() -> Crew:
    figures = task("a", agent("One"), output_pydantic=Figures)
    b = task("b", agent("Two"), output_json=Figures)
    return crew(figures, b, task("c", agent("Three"), context=[b]), task("d", agent("Four")))


def conditional(*, holds: bool) -> Crew:
    def high(output: Any) -> bool:
        return (output.pydantic.total > 3) is holds

    figures = task("a", agent("One"), output_pydantic=Figures)
    b = task("b", agent("Two"), condition=high)
    return crew(
        figures, b, task("c", agent("Three")), task("d", agent("Four"), context=[figures, b])
    )


def last_passed_over() -> Crew:
    return crew(task("a", agent("One")), task("b", agent("Two"), condition=lambda _: False))


def with_tools() -> Crew:
    clerk = agent("One", tools=[Price()])
    return crew(task("a", clerk), task("b", agent("Two")), task("c", clerk))


def delegating() -> Crew:
    return crew(task("a", agent("One", allow_delegation=True)), task("b", agent("Two")))


def guarded() -> Crew:
    # CrewAI reads annotations, and not those that are texts, as all are in this module.
    return crew(
        task("a", agent("One"), guardrail=lambda output: (True, output.raw.upper())),
        task("b", agent("Two")),
    )


def hooked() -> Crew:
    def shout(result: Any) -> Any:
        result.raw = f"{result.raw}!"
        return result

    made = crew(task("a", agent("One")), task("b", agent("Two")))
    made.before_kickoff_callbacks = [lambda inputs: {**inputs, "topic": "bees"}]
    made.after_kickoff_callbacks = [shout]
    return made


SEQUENCE = {"a": (), "b": ("a",), "c": ("a", "b"), "d": ("a", "b", "c")}


@dataclass(frozen=True)
class Shape:
    """A crew, how it is described, and what its tools are asked."""

    build: Callable[[], Crew]
    tasks: Mapping[str, tuple[str, ...]]
    plan: Plan | None = None


def only(number: int) -> Mapping[str, tuple[str, ...]]:
    return dict(list(SEQUENCE.items())[:number])


SHAPES = {
    "chain": Shape(chain, only(3)),
    "named context": Shape(named_context, {"a": (), "b": ("a",), "c": ("b", "a"), "d": ()}),
    "at once": Shape(
        at_once,
        {"a": (), "b": ("a",), "c": ("a",), "d": ("a",), "e": ("a", "b", "c", "d")},
    ),
    "structured": Shape(structured, {**only(2), "c": ("b",), "d": ("a", "b", "c")}),
    "condition holds": Shape(partial(conditional, holds=True), only(4)),
    "condition fails": Shape(partial(conditional, holds=False), only(4)),
    "last passed over": Shape(last_passed_over, only(2)),
    "tools": Shape(
        with_tools, only(3), lambda _, tools: [("price", {"sku": "A"})] if tools else []
    ),
    "delegation": Shape(
        delegating,
        only(2),
        lambda text, tools: (
            [("delegate_work_to_coworker", {"task": "t", "context": "c", "coworker": "Two"})]
            if tools and "Do a" in text
            else []
        ),
    ),
    "guardrail": Shape(guarded, only(2)),
    "callbacks of the crew": Shape(hooked, only(2)),
}


def compose(role: str, text: str, results: list[str]) -> str:
    # A structured answer wherever it is asked for; what is said depends on what was read.
    said = f"{role} read {len(text)} characters and {'; '.join(results)}"
    return json.dumps({"total": len(role)}) if "total" in text else said


def ask(shape: Shape, grain: Grain, executor: str) -> tuple[RealRuns, WorkflowFinished]:
    def model(role: str) -> ScriptedModel:
        return Asked(model="scripted/x", plan=shape.plan, compose=partial(compose, role))

    runs = RealRuns(shape.build, model, {EXECUTOR_SETTING: executor})
    flow = Flow(runs=runs, rules=rules(shape.tasks))
    flow.put(REQUESTS, "w", request(grain))
    flow.drain()
    (finished,) = flow.finished()
    assert finished.status == WorkflowStatus.COMPLETED, finished
    return runs, finished


def request(grain: Grain) -> WorkflowRequested:
    return WorkflowRequested.model_validate(
        {
            "workflow_id": "w",
            "tenant_id": "t",
            "project_id": "bizoholic",
            "requested_at": START,
            "coordination": "sequential",
            "tasks": [
                {"task_id": "before", "crew": "c", "task_type": "a", "description": "First."},
                {
                    "task_id": "whole",
                    "crew": "c",
                    "grain": grain,
                    "description": "Be quick.",
                    "expected_output": "In three lines.",
                    "inputs": '{"topic": "ants"}',
                },
                {
                    "task_id": "after",
                    "crew": "c",
                    "task_type": "a",
                    "inputs": '{"said": {"$from": {"task": "whole"}}}',
                },
            ],
        }
    )


@pytest.mark.parametrize("executor", ["lean", "stock"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_both_grains_ask_the_same_and_bring_the_same(shape: Shape, executor: str) -> None:
    isolate()
    whole, one = ask(shape, Grain.CREW, executor)
    cut, parts = ask(shape, Grain.TASKS, executor)

    assert sorted(cut.asked) == sorted(whole.asked)
    assert [task.task_id for task in one.tasks] == ["before", "whole", "after"]
    assert [task.task_id for task in parts.tasks] == [
        "before",
        *(f"whole.{name}" for name in shape.tasks),
        "after",
    ]
    crew_output, after = one.tasks[1].crew_output, parts.tasks[-1]
    assert crew_output is not None
    of_parts = [task.crew_output for task in parts.tasks[1:-1] if task.crew_output is not None]
    assert [part.raw for part in of_parts if part.raw][-1] == crew_output.raw
    brought = [one for part in of_parts for one in part.tasks_output]
    assert brought == list(crew_output.tasks_output)
    assert after.output == one.tasks[2].output
    assert parts.usage == one.usage
