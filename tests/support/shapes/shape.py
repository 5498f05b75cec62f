"""A shape: how its crew is built, and how two runs of it are compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crewai import Agent, Crew, Task

from support.shapes.log import Log

KICKOFF, AKICKOFF = "kickoff", "akickoff"

Build = Callable[[Log], Crew]


@dataclass(frozen=True, slots=True)
class Shape:
    """`at_once`: it makes calls at the same time, so their order is chance.

    `lean`: whether our loop takes its agents; else both sides run CrewAI's. `copies`: whether
    CrewAI can copy it.
    """

    build: Build
    inputs: Mapping[str, Any] | None = None
    at_once: bool = False
    lean: bool = True
    copies: bool = True
    ways: Sequence[str] = (KICKOFF, AKICKOFF)


def agent(llm: Any, role: str = "R", **options: Any) -> Agent:
    """An agent of few words."""
    return Agent(role=role, goal=f"goal of {role}", backstory=f"past of {role}", llm=llm, **options)


def task(who: Agent | None, text: str = "do it", **options: Any) -> Task:
    """A task that is called as it is described."""
    return Task(name=text, description=text, expected_output="a line", agent=who, **options)


def one(who: Agent, crew: Mapping[str, Any] | None = None, **options: Any) -> Crew:
    """A crew of one agent and one task."""
    return Crew(agents=[who], tasks=[task(who, **options)], **(crew or {}))
