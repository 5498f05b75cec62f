"""One run of one task: from a CrewTask to a CrewOutcome, whatever happens in between."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from crewai.events.stream_context import add_stream_sink, reset_stream_sinks

from crewstream_agents import executor
from crewstream_agents.cancellation import StopFlag
from crewstream_agents.failures import failure_of, false_success
from crewstream_agents.framing import EXPECTED, REQUEST, missing, placeholders, request_text
from crewstream_agents.measure import Recorder, total
from crewstream_agents.spec import CrewOutcome, Failure, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from crewai import Crew, CrewOutput

    from crewstream_agents.spec import CrewTask
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
    """A run under way. `stop` may be called at any time, from the loop that executes it."""

    task: CrewTask
    flag: StopFlag = field(default_factory=StopFlag)
    recorder: Recorder = field(default_factory=Recorder)
    model: str = ""
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
        error = self._work.exception()
        if error is None:
            return self._succeeded(self._work.result())
        if self._cancelled:
            return self._failed(CANCELLED)
        failure = failure_of(error)
        unknown = error if failure.error_type == "crew.failed" else None
        logger.warning("run %s failed: %s", self.task.assignment_id, failure, exc_info=unknown)
        return self._failed(failure)

    async def _kickoff(
        self, templates: Templates, assign: Assign, environ: Mapping[str, str]
    ) -> CrewOutput:
        template = await templates.get(self.task.project_id, self.task.crew)
        kind = self.task.task_type
        crew = template.narrowed(kind, self.task.agent) if kind else template.copy()
        choice = assign(crew, self.task, environ)
        self.model, self.recorder.offline = choice.model, choice.offline
        executor.choose(crew.agents, environ)
        inputs = _frame(crew, self.task)
        token = add_stream_sink(self.recorder.sink)
        try:
            with self.flag.watched():
                return await _start(crew, inputs)
        finally:
            reset_stream_sinks(token)

    def _overdue(self) -> CrewOutcome:
        message = f"The run did not end within its {self.task.deadline_s:g} s."
        self.stop()
        return self._failed(Failure("task.timeout", message, retryable=True))

    def _succeeded(self, result: CrewOutput) -> CrewOutcome:
        output = _clean(_readable(result))
        fault = false_success(output)
        if fault is not None:
            return self._failed(fault)
        agent = result.tasks_output[-1].agent if result.tasks_output else ""
        return self._outcome(
            Status.SUCCEEDED, output=output, output_json=_structured(result), agent=agent
        )

    def _failed(self, failure: Failure) -> CrewOutcome:
        status = Status.CANCELLED if failure is CANCELLED else Status.FAILED
        return self._outcome(status, failure=failure)

    def _outcome(self, status: Status, **known: Any) -> CrewOutcome:
        failure: Failure | None = known.get("failure")
        calls = self.recorder.calls(unfinished=failure.error_type if failure else "")
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
            **known,
        )


def _frame(crew: Crew, task: CrewTask) -> dict[str, Any]:
    """The inputs of a kickoff; what the crew's own before_kickoff leaves open is filled last."""
    inputs: dict[str, Any] = placeholders(task.inputs)
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
