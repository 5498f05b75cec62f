"""Runs of crews whose agents are chosen or ask one another, on models that follow a script."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crewai import Agent, Crew, Process, Task
from crewsample.model import Choice, ScriptedModel
from typing_extensions import override

from crewstream_agents.journal.replay import Journal
from crewstream_agents.registry import Project
from crewstream_agents.run import Run
from crewstream_agents.spec import Candidate, CrewOutcome, CrewTask
from crewstream_agents.templates import Template, Templates
from support.journal_memory import MemoryLease

STAFF = ("alice", "bob", "carol")
TASK = CrewTask("w/t/1", "w", "t", 1, "acme", "sample", "desk", "", journal="w/t/1", deadline_s=20)


class JournaledRun(Run):
    """A run whose journal is a dictionary."""

    lease: MemoryLease

    @override
    def _make_journal(self, external: object) -> Journal:
        return Journal(self.task, self.lease, self.flag, self.recorder, ())


def led(named: str, *, native: bool = True, kind: str = "delegate") -> Template:
    """A manager who asks the coworker `named`, beside three who answer with their own role."""

    def plan(_: str, tools: list[str]) -> list[tuple[str, dict[str, Any]]]:
        tool = next(name for name in tools if kind in name)
        asked = "task" if kind == "delegate" else "question"
        return [(tool, {asked: "weigh it", "context": "for the quote", "coworker": named})]

    boss = model(native=native, plan=plan, compose=lambda _, results: f"told: {results[0]}")
    staff: list[Any] = [answering(name.title(), native=native) for name in STAFF]
    crew = Crew(
        agents=staff,
        tasks=[Task(name="quote", description="d", expected_output="x")],
        process=Process.hierarchical,
        manager_agent=Agent(role="Boss", goal="g", backstory="b", llm=boss, allow_delegation=True),
    )
    return Template(crew, STAFF)


def equals() -> Template:
    """Two tasks, each of which any of three agents can do; tasks name the first one."""
    agents: list[Any] = [answering(name.title()) for name in STAFF]
    tasks = [
        Task(name=name, description=name, expected_output="x", agent=agents[0])
        for name in ("quote", "offer")
    ]
    return Template(Crew(agents=agents, tasks=tasks), STAFF)


def answering(role: str, *, native: bool = True) -> Agent:
    llm = model(native=native, compose=lambda *_: f"{role} did it")
    return Agent(role=role, goal="g", backstory="b", llm=llm)


def model(**options: Any) -> ScriptedModel:
    return ScriptedModel(model="scripted/x", **options)


def standings(**scores: float) -> Mapping[str, Candidate]:
    """Records for the task `quote` and for coworkers, 100 runs each."""
    return {
        f"{kind}/{agent}": Candidate(agent, score, 100, 0.05)
        for agent, score in scores.items()
        for kind in ("quote", "")
    }


async def perform(
    template: Template,
    task: CrewTask = TASK,
    lease: MemoryLease | None = None,
    explore: float | None = 0.0,
    redises: Any = None,
    **project: Any,
) -> CrewOutcome:
    """One run. With a lease, or with Redis, it is journaled."""
    told = Project("sample", "Sample", {"desk": "nowhere:Desk"}, **project)
    templates = Templates({"sample": told}, _built={("sample", "desk"): template})
    if lease is None:
        run = Run(task, redises, explore)
    else:
        run = JournaledRun(task, redises, explore)
        run.lease = lease
    return await run.execute(templates, lambda *_: Choice("scripted/x", offline=True), {})
