"""Who does what in a run: agents chosen by their records, and where they have a place left.

Every choice is made once and kept in the journal: a run that goes on keeps its agents, or it would
ask its models other things.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from crewai import Crew, Process
from pydantic import TypeAdapter

from crewstream_agents import parts, selection
from crewstream_agents.delegation import Delegations
from crewstream_agents.journal import replay
from crewstream_agents.refusal import RunRefused
from crewstream_agents.registry import Project
from crewstream_agents.spec import Candidate, CrewTask, Selection
from crewstream_agents.templates import Template
from crewstream_agents.workload import Workload

BUSY: Final = "agent.busy"

_KEPT: Final = TypeAdapter(Selection)


@dataclass(slots=True)
class Casting:
    """The agents of one run. `explore` as in `selection.ordered`; None: nobody is chosen.

    Methods block, for round trips to Redis; they raise HookAborted in a stopped run.
    """

    task: CrewTask
    project: Project | None
    workload: Workload
    explore: float | None = selection.EXPLORE
    selections: list[Selection] = field(default_factory=list)
    agent_name: str = ""
    """Who does the one task of the run, by its name in the project; empty for a whole crew."""
    _roles: Mapping[str, str] = field(default_factory=dict)
    _agents: Sequence[tuple[Any, str]] = ()

    @property
    def asks(self) -> bool:
        """Whether `cast` has something to decide, and so may block."""
        candidates = self.project.candidates if self.project is not None else {}
        chooses = self.explore is not None and bool(candidates or self.task.standings)
        return chooses or any(self.task.agent_limits.values())

    def cast(self, template: Template) -> Crew:
        """A crew of the run's own, every task with its agent.

        Raises RunRefused: what `Template.narrowed` refuses, and `agent.busy`.
        """
        named = zip(template.crew.agents, template.agents, strict=True)
        self._roles = {agent.role: name for agent, name in named}
        try:
            crew = self._narrowed(template) if self.task.task_type else self._whole(template)
            self._offer(crew)
        except BaseException:
            self.workload.give_back()
            raise
        # Inputs fill the roles of agents later on: from here on the objects are what is known.
        self._agents = [(agent, self._roles.get(agent.role, agent.role)) for agent in crew.agents]
        return crew

    def name_of(self, agent: Any) -> str:
        """The name of one of the crew's agents in its project; its role when it has none."""
        found = (name for each, name in self._agents if each is agent)
        return next(found, str(getattr(agent, "role", "")))

    def named(self, role: str) -> str:
        """The name in its project of the agent of this role; empty when there is none."""
        return next((name for agent, name in self._agents if agent.role == role), "")

    def delegations(self, crew: Crew) -> Delegations | None:
        """What watches the agents of this run ask one another; None: they cannot."""
        if not _delegates(crew):
            return None
        instead = self.project.interchangeable if self.project is not None else ()
        choose = None if self.explore is None else self._coworker
        return Delegations(self.name_of, instead, choose)

    def _narrowed(self, template: Template) -> Crew:
        kind = self.task.task_type
        declared = self._declared(template.crew, kind)
        agent = self.task.agent or self._choose(kind, template.agents)
        self.agent_name = agent or declared
        if self.agent_name:
            self._place(kind, self.agent_name)
        if self.task.part_of:
            return parts.part(template, self.task, agent)
        return template.narrowed(kind, agent)

    def _whole(self, template: Template) -> Crew:
        crew = template.copy()
        by_name = {self._roles[agent.role]: agent for agent in crew.agents}
        for task in crew.tasks:
            kind = str(task.name or "")
            chosen = self._choose(kind, template.agents)
            if chosen in by_name:
                self._place(kind, chosen)
                task.agent = by_name[chosen]
        return crew

    def _declared(self, crew: Crew, kind: str) -> str:
        """Whom the crew itself gives the task to."""
        agents = (task.agent for task in crew.tasks if task.name == kind)
        return next((self._roles.get(agent.role, "") for agent in agents if agent is not None), "")

    def _choose(self, kind: str, known: Sequence[str]) -> str:
        """The agent chosen for a kind of task; empty where the project names no two for it."""
        declared = self.project.candidates.get(kind, ()) if self.project is not None else ()
        agents = [agent for agent in dict.fromkeys(declared) if agent in known]
        explore = self.explore
        if len(agents) < 2 or explore is None:  # noqa: PLR2004  (a choice)
            return ""
        order = self._ordered(kind, agents, explore)
        return self._remembered(f"agent:{kind}", lambda: self._taken(kind, order)).agent

    def _taken(self, kind: str, order: selection.Order) -> Selection:
        agents = [each.agent for each in order.candidates]
        taken = self.workload.take(agents)
        if taken.index is None:
            raise _busy(kind, agents)
        return selection.selection(kind, order, taken.index, taken.busy)

    def _place(self, kind: str, agent: str) -> None:
        if self.workload.take([agent]).index is None:
            raise _busy(kind, [agent])

    def _offer(self, crew: Crew) -> None:
        """Have managers be offered coworkers in the order of their records, if any has one."""
        names = [self._roles.get(agent.role, "") for agent in crew.agents]
        known = [name for name in names if self._standing("", name).runs]
        explore = self.explore
        if not (explore is not None and known and len(names) > 1 and _delegates(crew)):
            return
        order = self._ordered("", names, explore)
        made = self._remembered("coworkers", lambda: selection.selection("", order))
        place = {each.agent: number for number, each in enumerate(made.candidates)}
        place[made.agent] = -1
        crew.agents = sorted(crew.agents, key=lambda agent: place.get(self._roles[agent.role], 0))

    def _coworker(self, agents: Sequence[str], key: str) -> str:
        order = self._ordered("", agents, self.explore or 0.0, key)
        return self._remembered(f"coworker:{key}", lambda: self._free(order)).agent

    def _free(self, order: selection.Order) -> Selection:
        """The first coworker that has a place; nobody waits for one, so else the first."""
        agents = [each.agent for each in order.candidates]
        full = self.workload.full(agents)
        free = (number for number, agent in enumerate(agents) if agent not in full)
        return selection.selection("", order, next(free, 0), full)

    def _ordered(
        self, kind: str, agents: Sequence[str], explore: float, key: str = ""
    ) -> selection.Order:
        candidates = [self._standing(kind, agent) for agent in agents]
        seed = f"{self.task.assignment_id}\x1f{kind}\x1f{key}"
        return selection.ordered(candidates, seed, explore)

    def _standing(self, kind: str, agent: str) -> Candidate:
        found = self.task.standings.get(f"{kind}/{agent}")
        return found if found is not None else selection.unknown(agent)

    def _remembered(self, name: str, choose: Any) -> Selection:
        def made() -> Any:
            chosen: Selection = choose()
            return {**_KEPT.dump_python(chosen, mode="json"), "at": datetime.now(UTC).isoformat()}

        found = _KEPT.validate_python(replay.remember(name, made))
        self.selections.append(found)
        return found


def _delegates(crew: Crew) -> bool:
    return crew.process is Process.hierarchical or any(
        getattr(agent, "allow_delegation", False) for agent in crew.agents
    )


def _busy(kind: str, agents: Sequence[str]) -> RunRefused:
    who = " and ".join(agents)
    why = f"{who} has as many tasks as it may have at once, so {kind} waits (limits.yaml: agents)"
    return RunRefused(BUSY, why, retryable=True)
