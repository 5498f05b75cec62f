"""The crew of a step."""

from typing import Any

from crewai import Agent, Crew, Task
from crewai.project import CrewBase, agent, crew, task


@CrewBase
class BlendCrew:
    """One who blends."""

    agents: list[Any]
    tasks: list[Any]
    agents_config: Any
    tasks_config: Any

    @agent
    def blender(self) -> Agent:
        return Agent(config=self.agents_config["blender"], verbose=True)

    @task
    def mix(self) -> Task:
        return Task(config=self.tasks_config["mix"])  # type: ignore[call-arg] # the yaml has them

    @crew
    def crew(self) -> Crew:
        """Mix."""
        return Crew(agents=self.agents, tasks=self.tasks, verbose=True)
