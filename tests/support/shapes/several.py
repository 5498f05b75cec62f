"""Shapes of several tasks and agents: contexts, tasks at once, conditions, managers, delegation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from crewai import Crew, Process, Task
from crewai.tasks.conditional_task import ConditionalTask

from support.shapes import tools
from support.shapes.log import Log
from support.shapes.models import Model, steps
from support.shapes.shape import KICKOFF, Build, Shape, agent, task


def shapes() -> Iterator[tuple[str, Shape]]:
    """All of them, by name."""
    for count in (2, 3, 5):
        yield f"{count} tasks", Shape(_sequence(count))
    yield "one agent, two tasks", Shape(_twice)
    yield "agents that share a model and a role", Shape(_namesakes)
    yield "contexts", Shape(_contexts)
    yield "tasks at once", Shape(_at_once, at_once=True)
    yield "a condition that holds", Shape(_conditional(holds=True))
    yield "a condition that does not", Shape(_conditional(holds=False))
    yield "a trigger's payload", Shape(_sequence(2), inputs={"crewai_trigger_payload": "order 7"})
    # In stock, akickoff always fails with it, and a planning_llm is copied as a name only.
    yield "planning", Shape(_planned, copies=False, ways=(KICKOFF,))
    yield "manager_llm", Shape(_managed_by_llm)
    for native in (True, False):
        protocol = "native" if native else "text"
        yield f"manager_agent, {protocol}", Shape(_managed(native=native))
        yield f"delegation, {protocol}", Shape(_helped("delegate", native=native))
        yield f"a question, {protocol}", Shape(_helped("ask", native=native))


def _model(log: Log, says: str = "done", **options: Any) -> Model:
    return Model(model="scripted/x", log=log, compose=lambda *_: says, **options)


def _sequence(count: int) -> Build:
    def build(log: Log) -> Crew:
        agents: list[Any] = [agent(_model(log, f"answer {i}"), f"R{i}") for i in range(count)]
        return Crew(agents=agents, tasks=[task(a, f"step {i}") for i, a in enumerate(agents)])

    return build


def _twice(log: Log) -> Crew:
    who = agent(_model(log, plan=steps(("price", {"sku": "A"}))), tools=[tools.Price(log=log)])
    second = task(who, "second", tools=[tools.Stock(log=log)])
    return Crew(agents=[who], tasks=[task(who, "first"), second])


def _namesakes(log: Log) -> Crew:
    llm = _model(log)
    pair: list[Any] = [agent(llm, "Same"), agent(llm, "Same")]
    return Crew(agents=pair, tasks=[task(a, f"part {i}") for i, a in enumerate(pair)])


def _contexts(log: Log) -> Crew:
    agents: list[Any] = [agent(_model(log, f"answer {i}"), f"R{i}") for i in range(3)]
    first, second = task(agents[0], "first"), task(agents[1], "second", context=[])
    return Crew(agents=agents, tasks=[first, second, task(agents[2], "third", context=[first])])


def _at_once(log: Log) -> Crew:
    agents: list[Any] = [agent(_model(log, f"answer {i}"), f"R{i}") for i in range(3)]
    side = [task(a, f"side {i}", async_execution=True) for i, a in enumerate(agents[:2])]
    return Crew(agents=agents, tasks=[*side, task(agents[2], "join", context=side)])


def _conditional(*, holds: bool) -> Build:
    def build(log: Log) -> Crew:
        agents: list[Any] = [agent(_model(log, f"answer {i}"), f"R{i}") for i in range(3)]
        maybe = ConditionalTask(
            name="maybe",
            description="maybe",
            expected_output="a line",
            agent=agents[1],
            condition=lambda output: holds and "0" in output.raw,
        )
        return Crew(agents=agents, tasks=[task(agents[0], "first"), maybe, task(agents[2], "last")])

    return build


def _planned(log: Log) -> Crew:
    plan = '{"list_of_plans_per_task": [{"task_number": 1, "task": "do it", "plan": "first look"}]}'
    who = agent(_model(log), tools=[tools.Price(log=log)])
    return Crew(agents=[who], tasks=[task(who)], planning=True, planning_llm=_model(log, plan))


def _handing(kind: str) -> Any:
    def plan(_: str, offered: list[str]) -> list[tuple[str, dict[str, Any]]]:
        name = next(name for name in offered if kind in name)
        what = "task" if kind == "delegate" else "question"
        return [(name, {what: "count them", "context": "all of them", "coworker": "Helper"})]

    return plan


def _last(_: str, results: list[str]) -> str:
    return f"with help: {results}"


def _helped(kind: str, *, native: bool) -> Build:
    def build(log: Log) -> Crew:
        boss = Model(model="scripted/x", log=log, native=native, plan=_handing(kind), compose=_last)
        lead = agent(boss, "Lead", allow_delegation=True)
        return Crew(agents=[lead, agent(_model(log, "seven"), "Helper")], tasks=[task(lead)])

    return build


def _managed(*, native: bool) -> Build:
    def build(log: Log) -> Crew:
        boss = Model(
            model="scripted/x", log=log, native=native, plan=_handing("delegate"), compose=_last
        )
        return _hierarchical(log, manager_agent=agent(boss, "Boss", allow_delegation=True))

    return build


def _managed_by_llm(log: Log) -> Crew:
    boss = Model(model="scripted/x", log=log, plan=_handing("delegate"), compose=_last)
    return _hierarchical(log, manager_llm=boss)


def _hierarchical(log: Log, **manager: Any) -> Crew:
    todo = [Task(name=f"t{i}", description=f"do {i}", expected_output="x") for i in range(2)]
    helper = agent(_model(log, "seven"), "Helper")
    return Crew(agents=[helper], tasks=todo, process=Process.hierarchical, **manager)
