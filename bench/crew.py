"""The crew that both sides run, and its model; imported where CrewAI is: runners, and stock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from crewai import Agent, Crew, Task
from crewai.project import CrewBase, agent, crew, task
from crewai.tools import BaseTool
from typing_extensions import override

from crewstream_agents.models import ModelChoice
from crewstream_agents.offline.model import OFFLINE, OfflineModel
from crewstream_agents.registry import Project

if TYPE_CHECKING:
    from crewstream_agents.spec import CrewTask

LATENCY = "latency_s"
PROJECT = Project(
    "bench",
    "Benchmark",
    {"headline": "bench.crew:HeadlineCrew", "priced": "bench.crew:PricedCrew"},
)


@CrewBase
class HeadlineCrew:
    """One agent, one task, one model call."""

    agents: list[Any]
    tasks: list[Any]
    agents_config: Any = {}  # noqa: RUF012 - CrewBase wants a class attribute; here are no yaml files
    tasks_config: Any = {}  # noqa: RUF012 - the same

    @agent
    def writer(self) -> Agent:
        return Agent(role="Writer", goal="Write headlines", backstory="A copy writer of few words")

    @task
    def headline(self) -> Task:
        return Task(
            description="Write a headline about {topic}",
            expected_output="One line",
            agent=self.writer(),  # type: ignore[call-arg]  # the decorator hides `self`
        )

    @crew
    def crew(self) -> Crew:
        """The crew."""
        return Crew(agents=self.agents, tasks=self.tasks)


class Price(BaseTool):
    """A tool that answers at once."""

    name: str = "price"
    description: str = "The list price of an article"

    @override
    def _run(self, topic: str) -> str:
        return f"{topic}: 10"


class Stock(BaseTool):
    """Another one."""

    name: str = "stock"
    description: str = "How many of an article there are"

    @override
    def _run(self, topic: str) -> str:
        return f"{topic}: 4"


@CrewBase
class PricedCrew:
    """One task that uses two tools, so with three model calls: five records of a journal."""

    agents: list[Any]
    tasks: list[Any]
    agents_config: Any = {}  # noqa: RUF012 - as above
    tasks_config: Any = {}  # noqa: RUF012 - as above

    @agent
    def clerk(self) -> Agent:
        return Agent(role="Clerk", goal="Know it", backstory="Sits", tools=[Price(), Stock()])

    @task
    def quote(self) -> Task:
        return Task(
            description="Quote a price for {topic}",
            expected_output="One line",
            agent=self.clerk(),  # type: ignore[call-arg]  # the decorator hides `self`
        )

    @crew
    def crew(self) -> Crew:
        """The crew."""
        return Crew(agents=self.agents, tasks=self.tasks)


def with_model(crew: Crew, latency_s: float) -> Crew:
    """The crew, on the offline model that takes so long for each call."""
    for each in crew.agents:
        each.llm = OfflineModel(latency_s=latency_s)
    return crew


def assign(crew: Crew, task: CrewTask, environ: Mapping[str, str]) -> ModelChoice:  # noqa: ARG001
    """What a runner calls to give a crew its model: the run's inputs say how slow it is."""
    with_model(crew, float(str(task.inputs[LATENCY])))
    return ModelChoice(OFFLINE, offline=True)
