"""Task assignment -> crew run -> task result and measurements."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from crewstream.contracts import envelope
from crewstream.contracts.codec import Codec
from crewstream.contracts.events import TaskAssigned
from crewstream.contracts.limits import Limits
from crewstream.contracts.topics import Topics
from crewstream.domain import attempts, measurements, policy, telling
from crewstream.errors import Invalid, NotNow, Transient, Undecodable
from crewstream.logs import about
from crewstream.meters import Meter
from crewstream.ports import Clock, CrewRuns, Journaled, Outcomes, Standings
from crewstream.records import Inbound, Outbound
from crewstream.topology import DEAD_LETTERS, METRICS, RESULTS
from crewstream_agents import spec

SOURCE = "crewstream/worker"
# The topic takes 8 MiB with headers; a result must also fit into the workflow's result.
MOST_RESULT_BYTES = 4 * 1024 * 1024
MOST_TOOLS, OTHER_TOOLS = 200, "others"
_log = logging.getLogger(__name__)


class Worker:
    """Runs assignments; what was finished once is only sent again.

    `name` says which process did it, for people who look for its log. `limits` are those of the
    budgets that model calls are charged to. Agents are chosen by their `standings`.
    """

    def __init__(
        self,
        codec: Codec,
        topics: Topics,
        *,
        runs: CrewRuns,
        outcomes: Outcomes,
        clock: Clock,
        meter: Meter,
        name: str,
        limits: Limits | None = None,
        standings: Standings | None = None,
    ) -> None:
        self._standings = standings
        self._limits = limits or Limits()
        self._codec, self._runs, self._outcomes, self._clock = codec, runs, outcomes, clock
        self._meter, self._tools = meter, set[str]()
        self._results, self._metrics = topics.full(RESULTS), topics.full(METRICS)
        self._letters, self._name = topics.full(DEAD_LETTERS), name

    async def handle(self, record: Inbound) -> Sequence[Outbound]:
        """What must be sent because of an assignment: its measurements, then its result.

        Raises Transient: another worker has this assignment, and its outcome will answer; NotNow:
        no agent that can do it has a place left.
        """
        try:
            task = self._codec.decode(record.value, TaskAssigned)
        except Undecodable as error:
            self._meter.count("crewstream_dead_letters_total", topic=record.topic)
            told = telling.letter(record.position, record.key, record.headers, error)
            _log.warning("dead letter", extra=told)
            return [record.dead_letter(self._letters, error)]
        with about(
            workflow_id=task.workflow_id,
            task_id=task.task_id,
            tenant_id=task.tenant_id,
            assignment_id=task.assignment_id,
        ):
            return list(self._outbound(task, _unpack(await self._done(task))))

    async def _done(self, task: TaskAssigned) -> bytes:
        """What is to be sent about an assignment, run now unless that was done before."""
        kept = await self._outcomes.get(task.assignment_id)
        if kept is None:
            outcome = await self._run(task)
            _postpone(task, outcome.failure)
            ours = _pack(self._encoded(task, outcome))
            # Kept before it is sent: from here on this assignment is never paid for again.
            kept = await self._outcomes.put(task.assignment_id, ours, _journaled(task, outcome))
            if kept == ours:
                self._count(task, outcome)
                _tell(outcome)
        return kept

    async def _run(self, task: TaskAssigned) -> spec.CrewOutcome:
        now = self._clock.now()
        try:
            asked = attempts.crew_task(task, now, self._limits, await self._standing(task))
        except ValueError as error:
            return attempts.not_run(task, now, "inputs.invalid", f"inputs: {error}")
        return await self._runs.run(asked)

    async def _standing(self, task: TaskAssigned) -> Mapping[str, spec.Candidate]:
        if self._standings is None:
            return {}
        return await self._standings.of(task.project_id, task.crew, task.task_type)

    def _count(self, task: TaskAssigned, outcome: spec.CrewOutcome) -> None:
        meter, project, usage = self._meter, task.project_id, outcome.usage
        queued_s = (outcome.started_at - task.assigned_at).total_seconds()
        ran_s = (outcome.finished_at - outcome.started_at).total_seconds()
        meter.count("crewstream_tasks_total", project=project, status=outcome.status)
        meter.observe("crewstream_task_queue_seconds", queued_s, project=project)
        meter.observe("crewstream_task_seconds", ran_s, project=project)
        for call in outcome.calls:
            if call.operation is spec.Operation.EXECUTE_TOOL and not call.replayed:
                self._count_tool(project, call)
        if not usage.llm_calls:
            return
        for direction, tokens in (("input", usage.input_tokens), ("output", usage.output_tokens)):
            meter.count("crewstream_tokens_total", tokens, project=project, direction=direction)
        meter.count("crewstream_cost_usd_total", float(usage.cost_usd), project=project)

    def _count_tool(self, project: str, call: spec.Call) -> None:
        tool, result = self._told_apart(call.tool), "failed" if call.error_type else "ok"
        if "refused" in call.attributes:
            result = "refused"
        elif call.attributes.get("cache") == "hit":
            result = "cached"
        else:
            took_s = call.duration_ms / 1000
            self._meter.observe("crewstream_tool_seconds", took_s, project=project, tool=tool)
        self._meter.count("crewstream_tool_calls_total", project=project, tool=tool, result=result)

    def _told_apart(self, tool: str) -> str:
        """The name of a tool as a label: models invent names, and a label has room for so many."""
        if len(self._tools) < MOST_TOOLS:
            self._tools.add(tool)
        return tool if tool in self._tools else OTHER_TOOLS

    def _encoded(self, task: TaskAssigned, outcome: spec.CrewOutcome) -> list[bytes]:
        """The measurements of an attempt and, last, its result."""
        try:
            result = self._codec.encode(attempts.finished(task, outcome, self._name))
        except Invalid as error:  # such as half of a surrogate pair, which has no UTF-8
            outcome = _without_output(outcome, "output.invalid", str(error))
            result = self._codec.encode(attempts.finished(task, outcome, self._name))
        for less in attempts.smaller(outcome):
            if len(result) <= MOST_RESULT_BYTES:
                break
            outcome, result = less, self._codec.encode(attempts.finished(task, less, self._name))
        if len(result) > MOST_RESULT_BYTES:
            size = f"the result is {len(result)} bytes, at most {MOST_RESULT_BYTES} travel"
            outcome = _without_output(outcome, "output.too_large", f"{size}: return a reference")
            result = self._codec.encode(attempts.finished(task, outcome, self._name))
        events = measurements.measured(task, outcome, self._name)
        return [*map(self._codec.encode, events), result]

    def _outbound(self, task: TaskAssigned, values: Sequence[bytes]) -> Iterator[Outbound]:
        key, last = task.workflow_id.encode(), len(values) - 1
        for number, value in enumerate(values):
            measured = number < last
            kind = "Measured" if measured else "TaskFinished"
            headers = envelope.headers_for(
                kind,
                id=f"{task.assignment_id}#{number if measured else 'finished'}",
                source=SOURCE,
                subject=task.workflow_id,
                time=task.assigned_at,
                tenant_id=task.tenant_id,
                correlation_id=task.workflow_id,
                causation_id=task.assignment_id,
                traceparent=task.traceparent,
            )
            yield Outbound(self._metrics if measured else self._results, key, value, headers)


def _postpone(task: TaskAssigned, failure: spec.Failure | None) -> None:
    """Leave a run without an outcome that could not be had now."""
    if failure is None:
        return
    why = f"{task.assignment_id}: {failure.message}"
    if failure.error_type == "run.fenced":
        raise Transient(why)
    if failure.error_type == "agent.busy":
        raise NotNow(why)


def _journaled(task: TaskAssigned, outcome: spec.CrewOutcome) -> Journaled:
    succeeded = outcome.status is spec.Status.SUCCEEDED
    return Journaled(attempts.journal(task), outcome.epoch, outcome.covered, succeeded)


def _tell(outcome: spec.CrewOutcome) -> None:
    asks = outcome.failure is not None and outcome.failure.error_type == policy.INPUT_WANTED
    level = logging.DEBUG if outcome.failure is None or asks else logging.WARNING
    if not _log.isEnabledFor(level):
        return
    ran, usage = outcome.finished_at - outcome.started_at, outcome.usage
    fields: dict[str, object] = {
        "status": str(outcome.status),
        "agent": outcome.agent,
        "duration_ms": round(ran.total_seconds() * 1000, 3),
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cost_usd": float(usage.cost_usd),
    }
    if outcome.failure is not None:
        fields["error_type"], fields["reason"] = outcome.failure.error_type, outcome.failure.message
    _log.log(level, "attempt %s", outcome.status, extra=fields)


def _without_output(outcome: spec.CrewOutcome, error_type: str, why: str) -> spec.CrewOutcome:
    return replace(
        outcome,
        status=spec.Status.FAILED,
        output="",
        output_json=None,
        agent=_plain(outcome.agent),
        failure=spec.Failure(error_type, _plain(why)),
        tool_failures=(),
        delegations=(),
        crew_output=None,
    )


def _plain(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _pack(values: Sequence[bytes]) -> bytes:
    """Values with their lengths in front, as one value."""
    return b"".join(struct.pack(">I", len(value)) + value for value in values)


def _unpack(packed: bytes) -> list[bytes]:
    values, at = [], 0
    while at < len(packed):
        (size,) = struct.unpack_from(">I", packed, at)
        values.append(packed[at + 4 : at + 4 + size])
        at += 4 + size
    return values
