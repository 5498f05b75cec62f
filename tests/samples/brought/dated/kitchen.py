"""Functions that make crews, as they were written for an earlier CrewAI."""

from typing import Any

from crewai import Agent, Crew, Task
from crewai_tools import BaseTool  # type: ignore[import-not-found]  # where it was


class Timer(BaseTool):  # type: ignore[misc]  # what crewai_tools has is known at run time
    """Counts minutes."""

    name: str = "timer"
    description: str = "Wait for tea"

    def _run(self, minutes: int) -> str:
        return f"waited {minutes}"


class ForeignTool:
    """Has what LangChain's tools have."""

    name = "shelf"
    description = "Look on the shelf"
    args_schema = None

    def func(self, leaf: str) -> str:
        """Say what is on the shelf."""
        return f"{leaf} is on the shelf"


class ForeignModel:
    """Has a name, and nothing that CrewAI knows."""


def make_kitchen() -> Crew:
    """A crew that nobody else has named."""
    tools: list[Any] = [Timer(), ForeignTool()]
    cook: Any = Agent(
        role="Cook", goal="Cook", backstory="You cook.", tools=tools, llm=ForeignModel(), verbose=2
    )
    boil = Task(description="Boil {leaf}", expected_output="Tea", agent=cook)
    cool = Task(description="Cool it", expected_output="Cold tea", agent=cook, context=[])
    return Crew(agents=[cook], tasks=[boil, cool], verbose=2)
