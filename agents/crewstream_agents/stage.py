"""What surrounds a kickoff: a crew or flow, its models, its loop, its folder, and who watches."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from crewai.llm_overlay import llm_overlay

from crewstream_agents import executor, flows, parts, routes, stores
from crewstream_agents.belongings import staff
from crewstream_agents.casting import Casting
from crewstream_agents.delegation import Delegations
from crewstream_agents.folder import redirect
from crewstream_agents.framing import EXPECTED, REQUEST, missing, placeholders, request_text
from crewstream_agents.models import choice_of, makes, own_counters, substitute
from crewstream_agents.refusal import RunRefused
from crewstream_agents.standin import standing_in
from crewstream_agents.templates import (
    FlowTemplate,
    Template,
    refuse_what_cannot_run_here,
    settle,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from crewai import Crew, CrewOutput

    from crewstream_agents.cancellation import StopFlag
    from crewstream_agents.folder import Folder
    from crewstream_agents.measure import Recorder
    from crewstream_agents.policy import Policy
    from crewstream_agents.spec import CrewTask
    from crewstream_agents.templates import Templates
    from crewstream_agents.workload import Workload


class ModelChoice(Protocol):
    """Which model the agents of a run were given."""

    @property
    def model(self) -> str: ...

    @property
    def offline(self) -> bool: ...


class Assign(Protocol):
    """Sets `llm` on the agents of a copied crew."""

    def __call__(self, crew: Crew, task: CrewTask, environ: Mapping[str, str]) -> ModelChoice: ...


@dataclass(slots=True)
class Stage:
    """One run's crew or flow, with all that it is given. What came of it is there to read."""

    task: CrewTask
    templates: Templates
    assign: Assign
    environ: Mapping[str, str]
    folder: Folder
    recorder: Recorder
    policy: Policy
    workload: Workload
    explore: float | None
    model: str = ""
    crew: Crew | None = None
    casting: Casting | None = None
    delegations: Delegations | None = None

    async def perform(self, template: Template | FlowTemplate, flag: StopFlag) -> CrewOutput:
        """Run it to its end. Raises what its code raises, RunRefused, ModelNotConfigured."""
        if isinstance(template, FlowTemplate):
            return await self._flow(template, flag)
        project = self.templates.project(self.task.project_id)
        self.casting = casting = Casting(self.task, project, self.workload, self.explore)
        if casting.asks:
            crew = await asyncio.to_thread(casting.cast, template)
        else:
            crew = casting.cast(template)
        async with self.workload.held():
            return await self._whole(crew, casting, template.defaults)

    async def _whole(self, crew: Crew, casting: Casting, defaults: Mapping[str, Any]) -> CrewOutput:
        self._equip(crew)
        if crew.memory:
            await asyncio.to_thread(stores.scope, crew, self.task, self.environ)
        inputs = _frame(crew, self.task, defaults)
        if self.task.part_of and (nothing := parts.passed_over(crew, inputs)) is not None:
            return nothing
        crew.before_kickoff_callbacks.append(redirect(crew.tasks, self.folder))
        self.crew, self.delegations = crew, casting.delegations(crew)
        watched = self.delegations.watched() if self.delegations is not None else nullcontext()
        offline = standing_in(substitute(self.environ)) if self.recorder.offline else nullcontext()
        with watched, offline, self._overlaid([agent.role for agent in crew.agents]):
            return await _start(crew, inputs)

    async def _flow(self, template: FlowTemplate, flag: StopFlag) -> CrewOutput:
        if self.task.task_type not in ("", self.task.crew):
            raise RunRefused(
                "task.unknown_type",
                f"{self.task.crew!r} is a flow and runs whole: leave task_type out",
            )
        choice = choice_of(self.environ)
        self.model, self.recorder.offline = choice.model, choice.offline

        def prepare(crew: Crew) -> None:
            try:
                self._prepare(crew)
            except Exception as error:  # noqa: BLE001 - a hook's errors count only as a stop
                flag.stop(error)
                flag.check()

        with standing_in(makes(self.task, self.environ)), self._overlaid(()):
            return await flows.kickoff(template.make, self.task, prepare)

    def _prepare(self, crew: Crew) -> None:
        """Have a crew that a flow starts run as one that runs alone."""
        where = f"crew {crew.name} of flow {self.task.crew}"
        refuse_what_cannot_run_here(crew, where)
        self.templates.keep_apart(crew, self.task.project_id, where)
        settle(crew)
        self._equip(crew)
        if crew.memory:
            stores.scope(crew, self.task, self.environ)
        crew.before_kickoff_callbacks.append(redirect(crew.tasks, self.folder))

    def _equip(self, crew: Crew) -> None:
        """Give a crew its models, and the loop that its agents run in."""
        choice = self.assign(crew, self.task, self.environ)
        self.model, self.recorder.offline = choice.model, choice.offline
        own_counters(crew)
        executor.choose(staff(crew), self.environ)

    def _overlaid(self, roles: Sequence[str]) -> AbstractContextManager[Any]:
        """Models that are made by their names in here are those of the routes."""
        known = self.policy.models.routes
        named = routes.overlay(known, self.task.project_id, self.task.task_type, roles)
        return llm_overlay(dict(named) or None)


def _frame(crew: Crew, task: CrewTask, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of a kickoff; what the crew's own before_kickoff leaves open is filled last."""
    inputs: dict[str, Any] = placeholders({**defaults, **task.inputs})
    expected = task.expected_output.strip()
    for earlier in crew.tasks[:-1]:
        # What a request expects is the crew's result, which its last task brings.
        earlier.expected_output = earlier.expected_output.replace(f"{{{EXPECTED}}}", "")
    inputs[REQUEST] = request_text(task)
    inputs[EXPECTED] = f"\n\n{expected}" if expected else ""
    crew.before_kickoff_callbacks = [*crew.before_kickoff_callbacks, _filler(crew)]
    return inputs


def _filler(crew: Crew) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda given: {**missing(crew.fetch_inputs(), given), **given}


async def _start(crew: Crew, inputs: dict[str, Any]) -> CrewOutput:
    if crew.planning:
        # akickoff always fails with planning: it calls a synchronous loop from within ours.
        result: Any = await asyncio.to_thread(crew.kickoff, inputs)
    else:
        result = await crew.akickoff(inputs)
    output: CrewOutput = result
    return output
