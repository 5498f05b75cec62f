"""One run of one task: from a CrewTask to a CrewOutcome, whatever happens in between."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from crewai.events.stream_context import add_stream_sink, reset_stream_sinks
from crewai.hooks.dispatch import HookAborted
from crewai.utilities.string_utils import sanitize_tool_name

from crewstream_agents import compat, executor, flows
from crewstream_agents.cancellation import StopFlag
from crewstream_agents.failures import RunRefused, failure_of, false_success
from crewstream_agents.framing import EXPECTED, REQUEST, missing, placeholders, request_text
from crewstream_agents.journal.replay import Journal
from crewstream_agents.journal.store import Lease, Redises
from crewstream_agents.measure import Recorder, total
from crewstream_agents.models import choice_of, substitute
from crewstream_agents.spec import CrewOutcome, Failure, Status
from crewstream_agents.standin import standing_in
from crewstream_agents.templates import (
    FlowTemplate,
    Template,
    refuse_what_cannot_run_here,
    settle,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from crewai import Crew, CrewOutput

    from crewstream_agents.spec import Call, CrewTask
    from crewstream_agents.templates import Templates

logger = logging.getLogger(__name__)

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

    With `redises`, a task that names a journal is answered from it, and writes it.
    """

    task: CrewTask
    redises: Redises | None = None
    flag: StopFlag = field(default_factory=StopFlag)
    recorder: Recorder = field(default_factory=Recorder)
    model: str = ""
    _journal: Journal | None = None
    _crew: Crew | None = None
    _started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    _cancelled: bool = False
    _work: asyncio.Task[CrewOutput] | None = None

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
        unknown = error if failure.error_type == "crew.failed" else None
        logger.warning("run %s failed: %s", self.task.assignment_id, failure, exc_info=unknown)
        return self._failed(failure)

    async def account(self, failure: Failure) -> CrewOutcome:
        """Run nothing: how the task ended, with all that earlier runs have paid for.

        It takes the journal over, so whoever still runs the task writes nothing more.
        """
        self._journal = self._make_journal(())
        try:
            if self._journal is not None:
                await asyncio.to_thread(self._journal.open)
        except (RunRefused, HookAborted) as error:
            return self._failed(failure_of(error))
        return self._failed(failure)

    def _make_journal(self, external: Collection[str]) -> Journal | None:
        if self.redises is None or not self.task.journal:
            return None
        names = {sanitize_tool_name(name) for name in external}
        lease = Lease(self.redises, self.task, self.flag)
        return Journal(self.task, lease, self.flag, self.recorder, names)

    async def _kickoff(
        self, templates: Templates, assign: Assign, environ: Mapping[str, str]
    ) -> CrewOutput:
        self._journal = self._make_journal(templates.external_tools(self.task.project_id))
        if self._journal is not None:
            await asyncio.to_thread(self._journal.open)
        template = await templates.get(self.task.project_id, self.task.crew)
        token = add_stream_sink(self.recorder.sink)
        journaled = self._journal.answering() if self._journal is not None else nullcontext()
        try:
            with (
                self.flag.watched(),
                journaled,
                compat.rules(templates.compat(self.task.project_id)),
            ):
                if isinstance(template, FlowTemplate):
                    return await self._flow(template, assign, environ)
                return await self._whole(template, assign, environ)
        finally:
            reset_stream_sinks(token)

    async def _whole(
        self, template: Template, assign: Assign, environ: Mapping[str, str]
    ) -> CrewOutput:
        kind = self.task.task_type
        crew = template.narrowed(kind, self.task.agent) if kind else template.copy()
        self._equip(crew, assign, environ)
        inputs = _frame(crew, self.task, template.defaults)
        self._crew = crew
        with standing_in(substitute(environ)) if self.recorder.offline else nullcontext():
            return await _start(crew, inputs)

    async def _flow(
        self, template: FlowTemplate, assign: Assign, environ: Mapping[str, str]
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
                refuse_what_cannot_run_here(crew, f"crew {crew.name} of flow {self.task.crew}")
                settle(crew)
                self._equip(crew, assign, environ)
            except Exception as error:  # noqa: BLE001 - a hook's errors count only as a stop
                self.flag.stop(error)
                self.flag.check()

        with standing_in(substitute(environ)):
            return await flows.kickoff(template.make, self.task, prepare)

    def _equip(self, crew: Crew, assign: Assign, environ: Mapping[str, str]) -> None:
        """Give a crew its models, and the loop that its agents run in."""
        choice = assign(crew, self.task, environ)
        self.model, self.recorder.offline = choice.model, choice.offline
        executor.choose(crew.agents, environ)

    def _overdue(self) -> CrewOutcome:
        message = f"The run did not end within its {self.task.deadline_s:g} s."
        self.stop()
        return self._failed(Failure("task.timeout", message, retryable=True))

    def _succeeded(self, result: CrewOutput) -> CrewOutcome:
        output = _clean(_readable(result))
        fault = false_success(output)
        if fault is not None:
            return self._failed(fault)
        # A role from a block of yaml ends with its line break.
        agent = result.tasks_output[-1].agent.strip() if result.tasks_output else ""
        return self._outcome(
            Status.SUCCEEDED, output=output, output_json=_structured(result), agent=agent
        )

    def _failed(self, failure: Failure) -> CrewOutcome:
        cancelled = failure.error_type == CANCELLED.error_type
        status = Status.CANCELLED if cancelled else Status.FAILED
        output = self._so_far() if failure.error_type == "budget.exceeded" else ""
        return self._outcome(status, failure=failure, output=output)

    def _so_far(self) -> str:
        """What the crew's tasks have brought that ended before the money did."""
        ended = [task.output for task in self._crew.tasks] if self._crew is not None else []
        return _clean("\n\n".join(output.raw for output in ended if output is not None))

    def _calls(self, unfinished: str) -> Sequence[Call]:
        """What CrewAI told of and what the journal knows, in the order of their start."""
        told = self.recorder.calls(unfinished=unfinished)
        if self._journal is None:
            return told
        calls = sorted([*told, *self._journal.calls()], key=lambda call: call.started_at)
        return [replace(call, sequence=number) for number, call in enumerate(calls)]

    def _outcome(self, status: Status, **known: Any) -> CrewOutcome:
        failure: Failure | None = known.get("failure")
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


def _readable(result: CrewOutput) -> str:
    """What a person reads: a structured result may know how to show itself."""
    shown = getattr(result.pydantic, "to_markdown", None)
    return str(shown()) if callable(shown) else result.raw


def _structured(result: CrewOutput) -> str | None:
    if result.pydantic is not None:
        return _clean(result.pydantic.model_dump_json())
    return json.dumps(result.json_dict) if result.json_dict is not None else None


def _clean(text: str) -> str:
    """Lone surrogates, which a model can produce, have no UTF-8 and could not be sent."""
    return text.encode("utf-8", "replace").decode()
