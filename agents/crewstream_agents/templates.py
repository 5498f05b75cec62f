"""The crews and flows of this process: each built once, never run itself, anew for every run."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from crewai import Agent, Crew, Process

from crewstream_agents import folder, stores
from crewstream_agents.belongings import own_tools
from crewstream_agents.copies import copied
from crewstream_agents.framing import EXPECTED, REQUEST
from crewstream_agents.loading import LoadedFlow, load
from crewstream_agents.models import substitute
from crewstream_agents.project import COPY, LEFT_OUT
from crewstream_agents.refusal import RunRefused
from crewstream_agents.registry import InvalidProject, Project, crew_target
from crewstream_agents.standin import Choose, standing_in

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from crewai import Task
    from crewai.agents.agent_builder.base_agent import BaseAgent
    from crewai.flow.runtime import Flow

    from crewstream_agents.spec import CrewTask

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Template:
    """A crew as its project builds it, and the name that each agent has in agents.yaml.

    `defaults` are the inputs that it has where a request gives none.
    """

    crew: Crew
    agents: Sequence[str]
    defaults: Mapping[str, Any] = field(default_factory=dict)

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


@dataclass(frozen=True, slots=True)
class FlowTemplate:
    """What makes a flow: each run has one of its own. `about` is what it says of itself."""

    make: Callable[[], Flow[Any]]
    about: str = ""


@dataclass(slots=True)
class Templates:
    """Every crew and flow that was asked for so far.

    `environ` says which models there are; `alone`: this process has one run only.
    """

    projects: Mapping[str, Project]
    environ: Mapping[str, str] = field(default_factory=dict)
    alone: bool = False
    _built: dict[tuple[str, str], Template | FlowTemplate] = field(default_factory=dict)
    # One at a time: what fresh_memo empties is shared by all crews under construction.
    _building: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def of(self, task: CrewTask) -> Template | FlowTemplate:
        """The template of a run's crew: what is not to be shared is built anew, in a thread.

        Raises RunRefused (`task.unknown_crew`, `crew.invalid`).
        """
        key = (task.project_id, task.crew)
        if (task.isolation or self._isolation(*key)) == COPY:
            return await self.get(*key)
        async with self._building:
            return await asyncio.to_thread(self._build, *key)

    async def get(self, project_id: str, crew: str) -> Template | FlowTemplate:
        """The template of a crew or flow, built in a thread when it is first asked for.

        Raises RunRefused (`task.unknown_crew`, `crew.invalid`).
        """
        key = (project_id, crew)
        async with self._building:
            if key not in self._built:
                self._built[key] = await asyncio.to_thread(self._build, *key)
            return self._built[key]

    def compat(self, project_id: str) -> bool:
        """Whether a project asks for the rules for crews of an earlier CrewAI."""
        project = self.projects.get(project_id)
        return project is not None and project.compat

    def external_tools(self, project_id: str) -> Collection[str]:
        """The tools that a project declares to have an effect outside."""
        project = self.project(project_id)
        return project.external_tools if project is not None else ()

    def project(self, project_id: str) -> Project | None:
        """What a project says of itself, if it is installed here."""
        return self.projects.get(project_id)

    def keep_apart(self, crew: Crew, project_id: str, where: str) -> None:
        """Have a crew share nothing between tenants. Raises RunRefused (`crew.invalid`)."""
        memory = self.projects[project_id].memory
        if memory == LEFT_OUT:
            stores.leave_out(crew)
        stores.check(crew, where, memory, alone=self.alone)

    def _build(self, project_id: str, crew: str) -> Template | FlowTemplate:
        template = build(self._known(project_id, crew), crew, self.environ)
        if isinstance(template, Template):
            self.keep_apart(template.crew, project_id, self.projects[project_id].crews[crew])
        return template

    def _isolation(self, project_id: str, crew: str) -> str:
        project = self.projects.get(project_id)
        try:
            return project.isolation_of(crew) if project is not None else COPY
        except InvalidProject as error:
            raise RunRefused("crew.invalid", str(error)) from error

    def _known(self, project_id: str, crew: str) -> Project:
        project = self.projects.get(project_id)
        if project is None:
            known = ", ".join(self.projects) or "none"
            raise RunRefused(
                "task.unknown_crew", f"no project {project_id!r} is installed here, but: {known}"
            )
        try:
            crew_target(project, crew)
        except InvalidProject as error:
            raise RunRefused("task.unknown_crew", str(error)) from error
        return project


def build(project: Project, crew: str, environ: Mapping[str, str]) -> Template | FlowTemplate:
    """Build a crew, or find its flow. Raises RunRefused (`crew.invalid`), ModelNotConfigured."""
    template = assemble(project, crew, substitute(environ))
    if isinstance(template, Template):
        refuse_what_cannot_run_here(template.crew, project.crews[crew])
        settle(template.crew)
        _make_room(template.crew)
    return template


def assemble(project: Project, crew: str, choose: Choose) -> Template | FlowTemplate:
    """The same, as the project itself makes it; `choose` gives it its models. Raises RunRefused."""
    target = project.crews[crew]
    try:
        with standing_in(choose):
            loaded = load(project, crew)
    except Exception as error:
        logger.exception("crew %s cannot be built", target)
        raise RunRefused(
            "crew.invalid", f"crew {target} cannot be built: {type(error).__name__}: {error}"
        ) from error
    if isinstance(loaded, LoadedFlow):
        return FlowTemplate(loaded.make, loaded.about)
    _name_tasks(loaded.crew)
    return Template(loaded.crew, loaded.agents, loaded.defaults)


def narrow(crew: Crew, task: Task) -> None:
    """Leave a crew this task only, with the agents that it needs."""
    crew.tasks = [task]
    if crew.process is Process.sequential and task.agent and not task.agent.allow_delegation:
        crew.agents = [task.agent]


def _name_tasks(crew: Crew) -> None:
    """A task that nobody named is known by its place: a request has to name it somehow."""
    for number, task in enumerate(crew.tasks, start=1):
        task.name = task.name or f"task_{number}"


def refuse_what_cannot_run_here(crew: Crew, where: str) -> None:
    """Raise RunRefused (`crew.invalid`) for a crew that a runner must not run."""
    for task in crew.tasks:
        try:
            folder.check(folder.filled(task.output_file or "-", {}))
        except folder.OutsideFolder as error:
            raise RunRefused("crew.invalid", f"{where}: output_file {error}") from error


def settle(crew: Crew) -> None:
    """Take out of a crew what works against many runs in one process."""
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


def _make_room(crew: Crew) -> None:
    """Where a request's words go."""
    for task in crew.tasks:
        task.description = f"{task.description}\n\n{{{REQUEST}}}"
        task.expected_output = f"{task.expected_output}{{{EXPECTED}}}"
