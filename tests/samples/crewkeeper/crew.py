"""The crew that keeps things: on its tools, on itself, in its module, in files."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crewai import Agent, Crew, Task
from crewai.project import CrewBase, agent, crew, task, tool
from crewai.tools import BaseTool
from crewsample.model import Choice, ScriptedModel
from pydantic import Field
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Mapping

    from crewstream_agents.spec import CrewTask

LEDGER: list[str] = []
"""What the module keeps."""


@dataclass
class Notebook:
    """What an instance of the crew keeps, and nobody can copy without knowing what it is."""

    notes: list[str] = field(default_factory=list)


class Note(BaseTool):
    """Writes a word down in four places, and says what was there before."""

    name: str = "note"
    description: str = "Note a word"
    max_usage_count: int | None = 1
    pages: list[str] = Field(default_factory=list)
    notebook: Any = None

    @override
    def _run(self, word: str) -> str:
        before = {
            "uses": self.current_usage_count,
            "tool": [*self.pages],
            "crew": [*self.notebook.notes],
            "module": [*LEDGER],
        }
        for place in (self.pages, self.notebook.notes, LEDGER):
            place.append(word)
        return json.dumps(before)


class Variable(BaseTool):
    """Reads the environment in the ways that a tool has."""

    name: str = "variable"
    description: str = "Read a variable"

    @override
    def _run(self, name: str) -> str:
        wanted = f"{name}=".encode()
        started_with = Path("/proc/self/environ").read_bytes().split(b"\0")
        parents = Path(f"/proc/{os.getppid()}/environ").read_bytes().split(b"\0")
        found = [one.decode() for one in (*started_with, *parents) if one.startswith(wanted)]
        return json.dumps({"value": os.environ.get(name), "in /proc": found})


class Write(BaseTool):
    """Writes a file."""

    name: str = "write"
    description: str = "Write a file"

    @override
    def _run(self, path: str) -> str:
        place = Path(path)
        place.write_text("x", encoding="utf-8")
        return str(place.resolve())


class Spin(BaseTool):
    """Is busy in C for ever, and lets nobody else in its process do anything meanwhile."""

    name: str = "spin"
    description: str = "Match an expression that backtracks without end"

    @override
    def _run(self) -> str:
        Path("spinning").touch()
        return str(re.match(r"(a+)+$", "a" * 60 + "b"))


@CrewBase
class KeeperCrew:
    """One who keeps."""

    agents: list[Any]
    tasks: list[Any]
    agents_config: Any = "agents.yaml"
    tasks_config: Any = "tasks.yaml"

    def __init__(self) -> None:
        self.notebook = Notebook()

    @tool
    def note(self) -> BaseTool:
        return Note(notebook=self.notebook)

    @tool
    def variable(self) -> BaseTool:
        return Variable()

    @tool
    def write(self) -> BaseTool:
        return Write()

    @tool
    def spin(self) -> BaseTool:
        return Spin()

    @agent
    def keeper(self) -> Agent:
        return Agent(config=self.agents_config["keeper"])

    @task
    def keep(self) -> Task:
        return Task(config=self.tasks_config["keep"])  # type: ignore[call-arg] # the yaml has them

    @crew
    def crew(self) -> Crew:
        """Keep."""
        return Crew(agents=self.agents, tasks=self.tasks)


def assign(crew: Crew, task: CrewTask, environ: Mapping[str, str]) -> Choice:
    """Models that make the tool calls that the inputs list, and say what the tools returned.

    Inputs: `calls`, a list of [tool, arguments]; `again`: they are made for ever.
    """
    del environ
    calls = [(name, given) for name, given in task.inputs.get("calls", ())]  # type: ignore[attr-defined]
    plan = calls * (10_000 if task.inputs.get("again") else 1)
    for one in crew.agents:
        one.llm = ScriptedModel(
            model="scripted/model",
            latency_s=float(str(task.inputs.get("latency_s", 0))),
            plan=lambda _, __: plan,
            compose=lambda _, results: "\n".join(results) or str(task.inputs.get("what", "done")),
        )
    return Choice("scripted/model", offline=True)
