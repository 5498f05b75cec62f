"""One run of one task: from a CrewTask to a CrewOutcome, whatever happens in between."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from statistics import fmean
from typing import TYPE_CHECKING, Any, Protocol

from crewai.events.stream_context import add_stream_sink, reset_stream_sinks
from crewai.hooks.dispatch import HookAborted
from crewai.llm_overlay import llm_overlay
from crewai.utilities.string_utils import sanitize_tool_name

from crewstream_agents import (
    compat,
    executor,
    flows,
    marks,
    outputs,
    parts,
    people,
    policy,
    routes,
    stores,
)
from crewstream_agents.allowance import Allowance
from crewstream_agents.belongings import own_counters
from crewstream_agents.cancellation import StopFlag
from crewstream_agents.casting import Casting
from crewstream_agents.delegation import Delegations
from crewstream_agents.failures import failure_of, false_success
from crewstream_agents.folder import Folder, redirect
from crewstream_agents.framing import EXPECTED, REQUEST, missing, placeholders, request_text
from crewstream_agents.journal import replay
from crewstream_agents.journal.replay import Journal
from crewstream_agents.journal.store import Lease, Redises
from crewstream_agents.journal.unkept import Unkept
from crewstream_agents.limits.gate import Gate
from crewstream_agents.measure import Recorder, total
from crewstream_agents.models import choice_of, makes, substitute
from crewstream_agents.policy import Policy
from crewstream_agents.progress import Tracker
from crewstream_agents.refusal import RunRefused
from crewstream_agents.selection import EXPLORE
from crewstream_agents.spec import CrewOutcome, Failure, Operation, Status
from crewstream_agents.standin import standing_in
from crewstream_agents.templates import (
    FlowTemplate,
    Template,
    refuse_what_cannot_run_here,
    settle,
)
from crewstream_agents.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from crewai import Crew, CrewOutput

    from crewstream_agents.project import Project
    from crewstream_agents.spec import Call, CrewTask
    from crewstream_agents.templates import Templates

logger = logging.getLogger(__name__)

QUALITY = "quality"
"""By what name the journal keeps scores that a crew's own code gives."""

CANCELLED = Failure("task.cancelled", "The run was cancelled.")


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
class Run:
    """A run under way. `stop` may be called at any time, from the loop that executes it.

    With `redises`, a task that names a journal is answered from it, and writes it, and rates and
    results of tools are shared with other runs. `explore` as in `casting.Casting`; `policy` says
    what it may use. `folder` is where its files go; None: one of its own.
    """

    task: CrewTask
    redises: Redises | None = None
    explore: float | None = EXPLORE
    policy: Policy = field(default_factory=Policy)
    flag: StopFlag = field(default_factory=StopFlag)
    recorder: Recorder = field(default_factory=Recorder)
    model: str = ""
    folder: Folder | None = None
    _journal: Journal | None = None
    _crew: Crew | None = None
    _casting: Casting | None = None
    _delegations: Delegations | None = None
    _scores: list[float] = field(default_factory=list)
    _started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    _cancelled: bool = False
    _work: asyncio.Task[CrewOutput] | None = None
    tracker: Tracker = field(init=False)
    _desk: people.Desk = field(init=False)

    def __post_init__(self) -> None:
        self.tracker = Tracker(self.task.assignment_id)
        self._desk = people.Desk(self.task.answers, self.flag)

    @property
    def _folder(self) -> Folder:
        if self.folder is None:
            self.folder = Folder.of_run(self.task.assignment_id)
        return self.folder

    def stop(self) -> None:
        """End this run: at once where it awaits, at the next boundary where a thread works."""
        self._cancelled = True
        self.flag.stop()
        if self._work is not None:
            self._work.cancel()

    async def execute(
        self, templates: Templates, assign: Assign, environ: Mapping[str, str]
    ) -> CrewOutcome:
        """Run the task to its end, its deadline or its cancellation. Never raises."""
        self._work = asyncio.create_task(self._kickoff(templates, assign, environ))
        # One that is overdue ends unwatched; asyncio would complain about its error.
        self._work.add_done_callback(lambda work: work.cancelled() or work.exception())
        if self._cancelled:
            self._work.cancel()
        done, _ = await asyncio.wait({self._work}, timeout=self.task.deadline_s)
        if not done:
            return self._overdue()
        if self._work.cancelled():
            return self._failed(CANCELLED)
        error = self.flag.error or self._work.exception()
        if error is None:
            return self._succeeded(self._work.result())
        if self._cancelled:
            return self._failed(CANCELLED)
        failure = failure_of(error)
        if failure.error_type == people.INPUT_WANTED:
            return self._failed(failure)
        unknown = error if failure.error_type == "crew.failed" else None
        logger.warning("run %s failed: %s", self.task.assignment_id, failure, exc_info=unknown)
        return self._failed(failure)

    async def account(self, failure: Failure) -> CrewOutcome:
        """Run nothing: how the task ended, with all that earlier runs have paid for.

        It takes the journal over, so whoever still runs the task writes nothing more.
        """
        try:
            await self._open_journal(())
        except (RunRefused, HookAborted) as error:
            return self._failed(failure_of(error))
        return self._failed(failure)

    async def _open_journal(self, external: Collection[str]) -> Journal:
        """The journal of this run, taken over. Raises as `Journal.open`."""
        self._journal = journal = self._make_journal(external)
        await asyncio.to_thread(journal.open)
        return journal

    def _make_journal(self, external: Collection[str]) -> Journal:
        """Without Redis it keeps nothing."""
        task, flag, redises = self.task, self.flag, self.redises
        gate = Gate(task, self.policy, flag, time.monotonic() + task.deadline_s, redises)
        kept = redises is not None and task.journal
        lease = Lease(redises, task, flag) if redises is not None and kept else Unkept()
        names = {sanitize_tool_name(name) for name in external}
        return Journal(task, lease, flag, self.recorder, names, gate=gate)

    async def _kickoff(
        self, templates: Templates, assign: Assign, environ: Mapping[str, str]
    ) -> CrewOutput:
        project = self.task.project_id
        journal = await self._open_journal(templates.external_tools(project))
        policy.current.set(self.policy)
        template = await templates.of(self.task)
        self._folder.enter()
        token = add_stream_sink(self.recorder.sink)
        add_stream_sink(self.tracker.sink)
        try:
            with (
                self.flag.watched(),
                Allowance(self.task.limits, self.flag).watched(),
                journal.answering(),
                people.at(self._desk),
                marks.taken_by(self._judged),
                compat.rules(templates.compat(project)),
            ):
                if isinstance(template, FlowTemplate):
                    return await self._flow(template, templates, assign, environ)
                return await self._whole(template, templates.project(project), assign, environ)
        finally:
            reset_stream_sinks(token)

    async def _whole(
        self,
        template: Template,
        project: Project | None,
        assign: Assign,
        environ: Mapping[str, str],
    ) -> CrewOutput:
        workload = Workload(self.task, self.redises, self.flag)
        self._casting = casting = Casting(self.task, project, workload, self.explore)
        if casting.asks:
            crew = await asyncio.to_thread(casting.cast, template)
        else:
            crew = casting.cast(template)
        async with workload.held():
            return await self._perform(crew, template.defaults, assign, environ)

    async def _perform(
        self, crew: Crew, defaults: Mapping[str, Any], assign: Assign, environ: Mapping[str, str]
    ) -> CrewOutput:
        self._equip(crew, assign, environ)
        if crew.memory:
            await asyncio.to_thread(stores.scope, crew, self.task, environ)
        inputs = _frame(crew, self.task, defaults)
        if self.task.part_of and (nothing := parts.passed_over(crew, inputs)) is not None:
            return nothing
        crew.before_kickoff_callbacks.append(redirect(crew.tasks, self._folder))
        self._crew = crew
        self._delegations = self._casting.delegations(crew) if self._casting else None
        watched = self._delegations.watched() if self._delegations is not None else nullcontext()
        offline = standing_in(substitute(environ)) if self.recorder.offline else nullcontext()
        with watched, offline, self._overlaid([agent.role for agent in crew.agents]):
            return await _start(crew, inputs)

    async def _flow(
        self,
        template: FlowTemplate,
        templates: Templates,
        assign: Assign,
        environ: Mapping[str, str],
    ) -> CrewOutput:
        if self.task.task_type not in ("", self.task.crew):
            raise RunRefused(
                "task.unknown_type",
                f"{self.task.crew!r} is a flow and runs whole: leave task_type out",
            )
        choice = choice_of(environ)
        self.model, self.recorder.offline = choice.model, choice.offline

        def prepare(crew: Crew) -> None:
            try:
                self._prepare(crew, templates, assign, environ)
            except Exception as error:  # noqa: BLE001 - a hook's errors count only as a stop
                self.flag.stop(error)
                self.flag.check()

        with standing_in(makes(self.task, environ)), self._overlaid(()):
            return await flows.kickoff(template.make, self.task, prepare)

    def _prepare(
        self, crew: Crew, templates: Templates, assign: Assign, environ: Mapping[str, str]
    ) -> None:
        """Have a crew that a flow starts run as one that runs alone."""
        where = f"crew {crew.name} of flow {self.task.crew}"
        refuse_what_cannot_run_here(crew, where)
        templates.check(crew, self.task.project_id, where)
        settle(crew)
        self._equip(crew, assign, environ)
        if crew.memory:
            stores.scope(crew, self.task, environ)
        crew.before_kickoff_callbacks.append(redirect(crew.tasks, self._folder))

    def _equip(self, crew: Crew, assign: Assign, environ: Mapping[str, str]) -> None:
        """Give a crew its models, and the loop that its agents run in."""
        choice = assign(crew, self.task, environ)
        self.model, self.recorder.offline = choice.model, choice.offline
        own_counters(crew)
        executor.choose([*crew.agents, *filter(None, [crew.manager_agent])], environ)

    def _overlaid(self, roles: Sequence[str]) -> AbstractContextManager[Any]:
        """Models that are made by their names in here are those of the routes."""
        known = self.policy.models.routes
        named = routes.overlay(known, self.task.project_id, self.task.task_type, roles)
        return llm_overlay(dict(named) or None)

    def _judged(self, score: float) -> None:
        """The crew's own code says how good this is; what was said is kept with what was paid."""
        self._scores.append(replay.remember(QUALITY, lambda: score))

    def _overdue(self) -> CrewOutcome:
        message = f"The run did not end within its {self.task.deadline_s:g} s."
        self.stop()
        return self._failed(Failure("task.timeout", message, retryable=True))

    def _succeeded(self, result: CrewOutput) -> CrewOutcome:
        output = outputs.readable(result)
        fault = false_success(output)
        if fault is not None:
            return self._failed(fault)
        # A role from a block of yaml ends with its line break.
        agent = result.tasks_output[-1].agent.strip() if result.tasks_output else ""
        return self._outcome(
            Status.SUCCEEDED,
            output=output,
            output_json=outputs.structured(result),
            agent=agent,
            crew_output=outputs.crew_output(result),
        )

    def _failed(self, failure: Failure) -> CrewOutcome:
        # A run that asks has not failed: it is taken up again with the answer.
        cut_off = failure.error_type in {CANCELLED.error_type, people.INPUT_WANTED}
        status = Status.CANCELLED if cut_off else Status.FAILED
        output = outputs.clean(self._desk.draft)
        if failure.error_type == "budget.exceeded":
            output = self._so_far()
        return self._outcome(status, failure=failure, output=output)

    def _so_far(self) -> str:
        """What the crew's tasks have brought that ended before the money did."""
        ended = [task.output for task in self._crew.tasks] if self._crew is not None else []
        return outputs.clean("\n\n".join(output.raw for output in ended if output is not None))

    def _calls(self, unfinished: str) -> Sequence[Call]:
        """What CrewAI told of and what the journal knows, in the order of their start."""
        told = [self._named(call) for call in self.recorder.calls(unfinished=unfinished)]
        if self._journal is None:
            return told
        calls = sorted([*told, *self._journal.calls()], key=lambda call: call.started_at)
        return [replace(call, sequence=number) for number, call in enumerate(calls)]

    def _named(self, call: Call) -> Call:
        """An agent's work under its name in the project: a role may be filled by inputs."""
        if call.operation is not Operation.INVOKE_AGENT or self._casting is None:
            return call
        name = self._casting.named(call.agent)
        if not name:
            return call
        return replace(call, attributes={**call.attributes, "agent_name": name})

    def _attributes(self) -> Mapping[str, str]:
        """What is measured of the task beside its calls."""
        told: dict[str, str] = {}
        if self._casting is not None and self._casting.agent_name:
            told["agent_name"] = self._casting.agent_name
        if self.recorder.guardrail_failures:
            told["guardrail_failures"] = str(self.recorder.guardrail_failures)
        kept = self._journal.remembered(QUALITY) if self._journal is not None else self._scores
        if kept:
            told["quality"] = f"{fmean(kept):.6g}"
        return told

    def _outcome(self, status: Status, **known: Any) -> CrewOutcome:
        failure: Failure | None = known.get("failure")
        written = self._folder.written()
        self._folder.remove()
        calls, journal = self._calls(failure.error_type if failure else ""), self._journal
        return CrewOutcome(
            assignment_id=self.task.assignment_id,
            status=status,
            started_at=self._started_at,
            finished_at=datetime.now(UTC),
            model=self.model,
            offline=self.recorder.offline,
            usage=total(calls),
            calls=calls,
            tool_failures=self.recorder.tool_failures(),
            alerts=journal.alerts() if journal else (),
            epoch=journal.epoch if journal else 0,
            covered=journal.covered if journal else 0,
            selections=tuple(self._casting.selections) if self._casting else (),
            delegations=self._delegations.ended() if self._delegations else (),
            attributes=self._attributes(),
            files=written,
            **known,
        )


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
