"""The crew of the sample project, in CrewAI's own conventions."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from crewai import Agent, Crew, Task
from crewai.project import CrewBase, agent, crew, task, tool
from crewai.tools import BaseTool
from typing_extensions import override


class PriceLookup(BaseTool):
    """A tool that answers at once, or fails."""

    name: str = "price_lookup"
    description: str = "Look up the list price of a product"

    @override
    def _run(self, sku: str) -> str:
        if sku == "broken":
            raise ValueError("the price list is away")
        return f"{sku}=120"


class Nap(BaseTool):
    """A tool that nothing can interrupt."""

    name: str = "nap"
    description: str = "Block this thread"

    @override
    def _run(self, seconds: float) -> str:
        time.sleep(seconds)
        return "rested"


class Crash(BaseTool):
    """A tool that takes its process with it, as one that eats all memory would."""

    name: str = "crash"
    description: str = "Kill this process"

    @override
    def _run(self) -> str:
        os.kill(os.getpid(), signal.SIGKILL)
        return "not reached"


@CrewBase
class QuotesCrew:
    """A clerk who quotes and a writer who writes the offer."""

    agents: list[Any]
    tasks: list[Any]
    agents_config: Any = "agents.yaml"
    tasks_config: Any = "tasks.yaml"

    @tool
    def price_lookup(self) -> BaseTool:
        return PriceLookup()

    @tool
    def nap(self) -> BaseTool:
        return Nap()

    @tool
    def crash(self) -> BaseTool:
        return Crash()

    @agent
    def clerk(self) -> Agent:
        return Agent(config=self.agents_config["clerk"])

    @agent
    def writer(self) -> Agent:
        return Agent(config=self.agents_config["writer"])

    @task
    def quote(self) -> Task:
        return Task(config=self.tasks_config["quote"])  # type: ignore[call-arg] # the yaml has them

    @task
    def offer(self) -> Task:
        config = self.tasks_config["offer"]
        return Task(config=config, output_file="offer.md")  # type: ignore[call-arg] # the same

    @crew
    def crew(self) -> Crew:
        """Quote, then write."""
        return Crew(agents=self.agents, tasks=self.tasks)
