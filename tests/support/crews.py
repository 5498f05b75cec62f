"""Crews of tests run by the coordinator and worker in memory, with all that their models are asked.

The crew is what a function builds; its models are scripted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from crewai import Agent, Crew, Task
from crewsample.model import Choice, ScriptedModel
from typing_extensions import override

from crewstream.domain.grain import CrewShape
from crewstream.domain.plan import Rules
from crewstream_agents.journal.store import Redises
from crewstream_agents.registry import Project
from crewstream_agents.run import Run
from crewstream_agents.spec import CrewOutcome, CrewTask
from crewstream_agents.templates import Templates

Build = Callable[[], Crew]


class Asked(ScriptedModel):
    """Keeps the messages of each call in a list that its crew shares."""

    asked: list[str] = []  # noqa: RUF012 - a pydantic field

    @override
    def decide(self, messages: list[Any], tools: Any, response_model: Any) -> Any:
        told = [{"role": m["role"], "content": m.get("content")} for m in messages]
        self.asked.append(json.dumps(told))
        return super().decide(messages, tools, response_model)


class Made:
    """Stands where a @CrewBase class would: its crew is what the runs under way build."""

    build: ClassVar[Build]

    def crew(self) -> Crew:
        return type(self).build()


PROJECT = Project("bizoholic", "Made by tests", {"c": "support.crews:Made"})


def reviewed(*, at_once: bool = False) -> Crew:
    """A writer whose drafts a person looks at, and an editor who takes what came of it."""
    model = ScriptedModel(model="scripted/x")
    known: dict[str, Any] = {"goal": "g", "backstory": "b", "llm": model}
    tasks = [
        Task(
            name=name,
            description=f"Do {name}",
            expected_output="e",
            agent=Agent(role=name.title(), **known),
            human_input=name != "edit",
            async_execution=at_once and name != "edit",
        )
        for name in (["left", "right", "edit"] if at_once else ["write", "edit"])
    ]
    return Crew(agents=[task.agent for task in tasks], tasks=tasks)  # type: ignore[misc] # each has one


class Drafts(Asked):
    """Writes a draft for each word of feedback that it was given so far."""

    @override
    def decide(self, messages: list[Any], tools: Any, response_model: Any) -> Any:
        super().decide(messages, tools, response_model)
        said = [m["content"] for m in messages if m["role"] == "user"]
        return f"Thought: t\nFinal Answer: {self.model} draft {len(said)}"


@dataclass
class RealRuns:
    """Runs in this process. `model` makes the scripted model of an agent, by its role."""

    build: Build
    model: Callable[[str], ScriptedModel]
    environ: Mapping[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    tasks: list[CrewTask] = field(default_factory=list)
    redises: Redises | None = None

    async def run(self, task: CrewTask) -> CrewOutcome:
        self.tasks.append(task)
        Made.build = staticmethod(self.build)
        templates = Templates({PROJECT.project_id: PROJECT})
        return await Run(task, self.redises).execute(templates, self._assign, self.environ)

    def cancel(self, assignment_id: str) -> bool:
        raise AssertionError(assignment_id)

    def _assign(self, crew: Crew, task: CrewTask, environ: Mapping[str, str]) -> Choice:
        del task, environ
        for agent in crew.agents:
            agent.llm = self.model(agent.role)
            if isinstance(agent.llm, Asked):
                agent.llm.asked = self.asked
        return Choice("scripted/model", offline=True)


def rules(tasks: Mapping[str, tuple[str, ...]]) -> Rules:
    """What the coordinator knows of the crew: how its tasks follow one another."""
    shapes = {"bizoholic": {"c": CrewShape(tasks)}}
    return Rules({"bizoholic": {"c": frozenset(tasks)}, "coreldove": None}, shapes=shapes)
