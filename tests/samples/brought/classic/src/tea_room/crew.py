"""What CrewAI's own template makes, with what a runner has to settle: files, output, limits."""

from pathlib import Path
from typing import Any

from crewai import Agent, Crew, Process, Task
from crewai.project import CrewBase, agent, crew, task

from tea_room.kettle import Kettle

MENU = Path("menu.txt").read_text(encoding="utf-8")  # as one may who is started in the folder


@CrewBase
class TeaRoom:
    """A host who greets and pours."""

    agents: list[Any]
    tasks: list[Any]
    agents_config: Any
    tasks_config: Any

    @agent
    def host(self) -> Agent:
        return Agent(config=self.agents_config["host"], tools=[Kettle()], verbose=True, max_rpm=9)

    @task
    def greet(self) -> Task:
        return Task(config=self.tasks_config["greet"])  # type: ignore[call-arg] # the yaml has them

    @task
    def pour(self) -> Task:
        config = self.tasks_config["pour"]
        return Task(config=config, output_file="cup.md")  # type: ignore[call-arg] # the same

    @crew
    def crew(self) -> Crew:
        """Greet, then pour."""
        return Crew(agents=self.agents, tasks=self.tasks, process=Process.sequential, verbose=True)
