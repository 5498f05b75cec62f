"""One run of one task: from a CrewTask to a CrewOutcome, whatever happens in between."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from statistics import fmean
from typing import TYPE_CHECKING, Any

from crewai.events.stream_context import add_stream_sink, reset_stream_sinks
from crewai.hooks.dispatch import HookAborted
from crewai.utilities.string_utils import sanitize_tool_name

from crewstream_agents import (
    compat,
    marks,
    outputs,
    people,
    policy,
)
from crewstream_agents.allowance import Allowance
from crewstream_agents.cancellation import StopFlag
from crewstream_agents.casting import Casting
from crewstream_agents.failures import failure_of, false_success
from crewstream_agents.folder import Folder
from crewstream_agents.journal import replay
from crewstream_agents.journal.replay import Journal
from crewstream_agents.journal.store import Lease, Redises
from crewstream_agents.journal.unkept import Unkept
from crewstream_agents.limits.gate import Gate
from crewstream_agents.measure import Recorder, total
from crewstream_agents.policy import Policy
from crewstream_agents.progress import Tracker
from crewstream_agents.refusal import RunRefused
from crewstream_agents.selection import EXPLORE
from crewstream_agents.spec import CrewOutcome, Failure, Operation, Status
from crewstream_agents.stage import Stage
from crewstream_agents.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from crewai import CrewOutput

    from crewstream_agents.spec import Call, CrewTask
    from crewstream_agents.stage import Assign
    from crewstream_agents.templates import Templates

logger = logging.getLogger(__name__)

QUALITY = "quality"
"""By what name the journal keeps scores that a crew's own code gives."""

CANCELLED = Failure("task.cancelled", "The run was cancelled.")


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
    folder: Folder | None = None
    _journal: Journal | None = None
    _stage: Stage | None = None
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
        self._stage = stage = Stage(
            self.task,
            templates=templates,
            assign=assign,
            environ=environ,
            folder=self._folder,
            recorder=self.recorder,
            policy=self.policy,
            workload=Workload(self.task, self.redises, self.flag),
            explore=self.explore,
        )
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
                return await stage.perform(template, self.flag)
        finally:
            reset_stream_sinks(token)

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
        crew = self._stage.crew if self._stage is not None else None
        ended = [task.output for task in crew.tasks] if crew is not None else []
        return outputs.clean("\n\n".join(output.raw for output in ended if output is not None))

    def _calls(self, unfinished: str) -> Sequence[Call]:
        """What CrewAI told of and what the journal knows, in the order of their start."""
        told = [self._named(call) for call in self.recorder.calls(unfinished=unfinished)]
        if self._journal is None:
            return told
        calls = sorted([*told, *self._journal.calls()], key=lambda call: call.started_at)
        return [replace(call, sequence=number) for number, call in enumerate(calls)]

    @property
    def _casting(self) -> Casting | None:
        return self._stage.casting if self._stage is not None else None

    def _named(self, call: Call) -> Call:
        """An agent's work under its name in the project: a role may be filled by inputs."""
        casting = self._casting
        if call.operation is not Operation.INVOKE_AGENT or casting is None:
            return call
        name = casting.named(call.agent)
        if not name:
            return call
        return replace(call, attributes={**call.attributes, "agent_name": name})

    def _attributes(self) -> Mapping[str, str]:
        """What is measured of the task beside its calls."""
        told: dict[str, str] = {}
        casting = self._casting
        if casting is not None and casting.agent_name:
            told["agent_name"] = casting.agent_name
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
        stage, casting = self._stage, self._casting
        return CrewOutcome(
            assignment_id=self.task.assignment_id,
            status=status,
            started_at=self._started_at,
            finished_at=datetime.now(UTC),
            model=stage.model if stage else "",
            offline=self.recorder.offline,
            usage=total(calls),
            calls=calls,
            tool_failures=self.recorder.tool_failures(),
            alerts=journal.alerts() if journal else (),
            epoch=journal.epoch if journal else 0,
            covered=journal.covered if journal else 0,
            selections=tuple(casting.selections) if casting else (),
            delegations=stage.delegations.ended() if stage and stage.delegations else (),
            attributes=self._attributes(),
            files=written,
            **known,
        )
