"""The crews of this process: each built once, never run itself, copied for every run."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from crewai import Agent, Crew, Process

from crewstream_agents import folder, stores
from crewstream_agents.belongings import own_tools
from crewstream_agents.copies import copied
from crewstream_agents.framing import EXPECTED, REQUEST
from crewstream_agents.isolation import fresh_memo
from crewstream_agents.refusal import RunRefused
from crewstream_agents.registry import COPY, InvalidProject, Project, crew_target

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from crewai import Task
    from crewai.agents.agent_builder.base_agent import BaseAgent

    from crewstream_agents.spec import CrewTask

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Template:
    """A crew as its class builds it, and the name that each agent has in agents.yaml."""

    crew: Crew
    agents: Sequence[str]

    def copy(self) -> Crew:
        """A crew of one's own: a Crew object cannot run twice at once."""
        crew = copied(self.crew)
        own_tools(crew)
        return crew

    def narrowed(self, task_type: str, agent: str = "") -> Crew:
        """A copy that does one task only, by the agent given or the one that yaml names.

        Raises RunRefused (`task.unknown_type`, `task.unknown_agent`).
        """
        crew = self.copy()
        task = self.task(crew, task_type)
        task.context = []
        if agent:
            task.agent = self.agent(crew, agent)
        narrow(crew, task)
        return crew

    def task(self, crew: Crew, task_type: str) -> Task:
        """The task of that name in a copy. Raises RunRefused (`task.unknown_type`)."""
        found = next((task for task in crew.tasks if task.name == task_type), None)
        if found is None:
            known = ", ".join(str(task.name) for task in crew.tasks)
            raise RunRefused(
                "task.unknown_type", f"the crew knows no task {task_type!r}, it knows: {known}"
            )
        return found

    def agent(self, crew: Crew, name: str) -> BaseAgent:
        """The agent of that name in a copy. Raises RunRefused (`task.unknown_agent`)."""
        if name not in self.agents:
            known = ", ".join(self.agents)
            raise RunRefused("task.unknown_agent", f"the crew has no agent {name!r}, but: {known}")
        return crew.agents[self.agents.index(name)]


@dataclass(slots=True)
class Templates:
    """Every crew that was asked for so far. `alone`: this process has one run only."""

    projects: Mapping[str, Project]
    alone: bool = False
    _built: dict[tuple[str, str], Template] = field(default_factory=dict)
    # One at a time: what fresh_memo empties is shared by all crews under construction.
    _building: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def of(self, task: CrewTask) -> Template:
        """The template of a run's crew: what is not to be shared is built anew, in a thread.

        Raises RunRefused (`task.unknown_crew`, `crew.invalid`).
        """
        key = (task.project_id, task.crew)
        if (task.isolation or self._isolation(*key)) == COPY:
            return await self.get(*key)
        async with self._building:
            return await asyncio.to_thread(self._build, *key)

    async def get(self, project_id: str, crew: str) -> Template:
        """The template of a crew, built in a thread when it is asked for the first time.

        Raises RunRefused (`task.unknown_crew`, `crew.invalid`).
        """
        key = (project_id, crew)
        async with self._building:
            if key not in self._built:
                self._built[key] = await asyncio.to_thread(self._build, *key)
            return self._built[key]

    def external_tools(self, project_id: str) -> Collection[str]:
        """The tools that a project declares to have an effect outside."""
        project = self.project(project_id)
        return project.external_tools if project is not None else ()

    def project(self, project_id: str) -> Project | None:
        """What a project says of itself, if it is installed here."""
        return self.projects.get(project_id)

    def _build(self, project_id: str, crew: str) -> Template:
        module, name = self._locate(project_id, crew)
        template = build(module, name)
        memory = self.projects[project_id].memory
        stores.check(template.crew, f"{module}:{name}", memory, alone=self.alone)
        return template

    def _isolation(self, project_id: str, crew: str) -> str:
        project = self.projects.get(project_id)
        try:
            return project.isolation_of(crew) if project is not None else COPY
        except InvalidProject as error:
            raise RunRefused("crew.invalid", str(error)) from error

    def _locate(self, project_id: str, crew: str) -> tuple[str, str]:
        project = self.projects.get(project_id)
        if project is None:
            known = ", ".join(self.projects) or "none"
            raise RunRefused(
                "task.unknown_crew", f"no project {project_id!r} is installed here, but: {known}"
            )
        try:
            return crew_target(project, crew)
        except InvalidProject as error:
            raise RunRefused("task.unknown_crew", str(error)) from error


def build(module: str, name: str) -> Template:
    """Build a crew from its @CrewBase class. Raises RunRefused (`crew.invalid`)."""
    try:
        with fresh_memo():
            maker: Any = getattr(import_module(module), name)()
            crew: Crew = maker.crew()
            agents = [_name_of(agent, maker) for agent in crew.agents]
    except Exception as error:
        logger.exception("crew %s:%s cannot be built", module, name)
        raise RunRefused(
            "crew.invalid", f"crew {module}:{name} cannot be built: {type(error).__name__}: {error}"
        ) from error
    _refuse_what_cannot_run_here(crew, f"{module}:{name}")
    _settle(crew)
    return Template(crew, agents)


def narrow(crew: Crew, task: Task) -> None:
    """Leave a crew this task only, with the agents that it needs."""
    crew.tasks = [task]
    if crew.process is Process.sequential and task.agent and not task.agent.allow_delegation:
        crew.agents = [task.agent]


def _name_of(agent: BaseAgent, maker: Any) -> str:
    """An agent's key in agents.yaml: the method that made it, memoised, returns it again."""
    names = [n for n in getattr(maker, "agents_config", None) or () if hasattr(maker, n)]
    return next((name for name in names if getattr(maker, name)() is agent), agent.role)


def _refuse_what_cannot_run_here(crew: Crew, where: str) -> None:
    for task in crew.tasks:
        try:
            folder.check(folder.filled(task.output_file or "-", {}))
        except folder.OutsideFolder as error:
            raise RunRefused("crew.invalid", f"{where}: output_file {error}") from error


def _settle(crew: Crew) -> None:
    """Take out what works against many runs in one process, and make room for a request's words."""
    crew.verbose = False
    crew.stream = False
    # It leaves a timer thread behind for each failed run, and knows nothing of other runners.
    crew.max_rpm = None
    for agent in crew.agents:
        agent.verbose = False
        agent.max_rpm = None
        if isinstance(agent, Agent):
            # Retries multiply with those of the client and of the workflow: only the last count.
            agent.max_retry_limit = 0
    for task in crew.tasks:
        task.description = f"{task.description}\n\n{{{REQUEST}}}"
        task.expected_output = f"{task.expected_output}{{{EXPECTED}}}"
