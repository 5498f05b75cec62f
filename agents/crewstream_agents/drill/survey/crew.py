"""Its crew, in CrewAI's own conventions (agents.yaml, tasks.yaml)."""

from __future__ import annotations

from typing import Any

from crewai import Agent, Crew, Process, Task
from crewai.agents.agent_builder.base_agent import BaseAgent
from crewai.project import CrewBase, agent, crew, task, tool

from crewstream_agents.drill.tools.look_up import LookUp


@CrewBase
class Survey:
    """Two tasks at the same time, and one that waits for both."""

    agents: list[BaseAgent]
    tasks: list[Task]
    agents_config: Any = "config/agents.yaml"
    tasks_config: Any = "config/tasks.yaml"

    @tool
    def look_up(self) -> LookUp:
        return LookUp()

    @agent
    def left_surveyor(self) -> Agent:
        return Agent(config=self.agents_config["left_surveyor"])

    @agent
    def right_surveyor(self) -> Agent:
        return Agent(config=self.agents_config["right_surveyor"])

    @agent
    def editor(self) -> Agent:
        return Agent(config=self.agents_config["editor"])

    @task
    def left(self) -> Task:
        config = self.tasks_config["left"]
        return Task(config=config, async_execution=True)  # type: ignore[call-arg]  # the yaml has them

    @task
    def right(self) -> Task:
        config = self.tasks_config["right"]
        return Task(config=config, async_execution=True)  # type: ignore[call-arg]  # the yaml has them

    @task
    def both(self) -> Task:
        return Task(config=self.tasks_config["both"])  # type: ignore[call-arg]  # the yaml has them

    @crew
    def crew(self) -> Crew:
        return Crew(agents=self.agents, tasks=self.tasks, process=Process.sequential)
