"""Requests, commands, signals and task results -> workflow state, assignments, workflow results.

Every output is a function of the record that is handled and the rows that it finds: the only
clock is the record's own timestamp. Handling a record twice emits the same records again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from crewstream import topology
from crewstream.contracts import envelope
from crewstream.contracts.codec import Codec
from crewstream.contracts.events import (
    Measured,
    Signal,
    TaskAssigned,
    TaskFinished,
    TaskState,
    TaskStatus,
    WorkflowCommanded,
    WorkflowFinished,
    WorkflowRequested,
    WorkflowSignalled,
    WorkflowState,
    WorkflowStatus,
)
from crewstream.contracts.recent import Recent
from crewstream.contracts.topics import Topics, partition_for
from crewstream.domain import commands, outputs, policy, telling, workflow
from crewstream.domain.plan import MOST_NAME, Rules, content_digest, faults, shortened
from crewstream.errors import Conflict, Invalid, TooLarge, UnknownWorkflow
from crewstream.meters import Meter
from crewstream.ports import Rows
from crewstream.records import Inbound, Outbound

SOURCE = "crewstream/coordinator"
# Topics take 8 MiB; headers and framing need some of it.
MOST_RECORD_BYTES = 8 * 1024 * 1024 - 64 * 1024
Handled = Iterator[Outbound]
# What a task in these states brought is stored, for those after it and for the result.
_STORED = frozenset({TaskStatus.SUCCEEDED, TaskStatus.FAILED})
Taken = WorkflowRequested | WorkflowCommanded | WorkflowSignalled | TaskFinished
Emitted = TaskAssigned | TaskFinished | WorkflowFinished | Measured
_log = logging.getLogger(__name__)


class Coordinator:
    """Applies one record at a time to the row of its workflow.

    `rules` is asked at each request, because workers may announce new crews at any time.
    """

    def __init__(
        self, codec: Codec, topics: Topics, rules: Callable[[], Rules], meter: Meter
    ) -> None:
        self._codec, self._topics, self._rules, self._meter = codec, topics, rules, meter
        self._state = topics.full(topology.STATE)
        self._payloads = topics.full(topology.PAYLOADS)
        self._signals = topics.full(topology.SIGNALS)
        self._metrics = topics.full(topology.METRICS)
        self._results_topic = topics.full(topology.RESULTS)
        self._letters = topics.full(topology.DEAD_LETTERS)
        self._partitions = topics.partitions(self._state)
        self._requests = {topics.full(topology.REQUESTS, p): p for p in topics.projects}
        self._handlers: dict[str, tuple[type[Taken], Callable[[Any, Inbound, Rows], Handled]]] = {
            self._results_topic: (TaskFinished, self._result),
            topics.full(topology.COMMANDS): (WorkflowCommanded, self._command),
            self._signals: (WorkflowSignalled, self._signal),
            **dict.fromkeys(self._requests, (WorkflowRequested, self._request)),
        }
        self._states = Recent(codec, WorkflowState)

    def handle(self, record: Inbound, rows: Rows) -> Sequence[Outbound]:
        """What must be sent because of a record, in order; rows of the tables last."""
        model, handle = self._handlers[record.topic]
        try:
            event = self._codec.decode(record.value, model)
            moved = self._misplaced(record, event.workflow_id)
            return [moved] if moved else list(handle(event, record, rows))
        except Invalid as error:
            self._meter.count("crewstream_dead_letters_total", topic=record.topic)
            told = telling.letter(record.position, record.key, record.headers, error)
            _log.warning("dead letter", extra=told)
            return [record.dead_letter(self._letters, error)]

    def due(self, value: bytes) -> datetime | None:
        """When the timer of a stored row is due next."""
        return policy.next_due(self._states.decode(value))

    def fire(self, key: bytes, due: datetime) -> Outbound:
        """The signal that a row's timer was due."""
        signal = outputs.fired(key.decode(), due)
        headers = envelope.headers_for(
            "WorkflowSignalled",
            id=signal.signal_id,
            source=SOURCE,
            subject=signal.workflow_id,
            time=due,
            tenant_id="",
            correlation_id=signal.workflow_id,
        )
        return Outbound(self._signals, key, self._codec.encode(signal), headers)

    # -- one handler a kind of record ------------------------------------------------------------

    def _request(self, request: WorkflowRequested, record: Inbound, rows: Rows) -> Handled:
        # Without a usable id there is no row: the rejection is named by the position instead.
        named = _names_a_row(request.workflow_id)
        digest = content_digest(request)
        if named and (known := self._find(rows, request.workflow_id)):
            if known.request_sha256 != digest:
                raise Conflict(request.workflow_id)
            return
        project = self._requests[record.topic]
        wrong = faults(request, self._rules(), project)
        if wrong:
            request = shortened(request, request.workflow_id if named else record.position)
        trace = envelope.value_of(record.headers, "traceparent")
        state = workflow.accept(request, wrong, record.at, digest, trace[:MOST_NAME])
        basis = _Basis(record, project, request=request)
        yield from self._follow(None, state, basis, rows)
        if not wrong:
            yield Outbound(self._payloads, state.workflow_id.encode(), record.value)
        if named:
            yield self._stored(state)

    def _result(self, result: TaskFinished, record: Inbound, rows: Rows) -> Handled:
        before = self._find(rows, result.workflow_id)
        if before is None:  # early: its assignment comes again, and with it the result
            return
        after = workflow.finish_task(before, result, record.at)
        if after is before:
            return
        yield from self._follow(before, after, _Basis(record, after.project_id, result), rows)
        task = workflow.find_task(after, result.task_id)
        needed_later = after.status != WorkflowStatus.COMPLETED
        if needed_later and task is not None and task.status in _STORED:
            key = f"{after.workflow_id}/{task.task_id}".encode()
            yield Outbound(self._payloads, key, record.value)
        yield self._stored(after)

    def _command(self, asked: WorkflowCommanded, record: Inbound, rows: Rows) -> Handled:
        before = self._find(rows, asked.workflow_id)
        if before is None:
            raise UnknownWorkflow(asked.workflow_id)
        after = commands.command(before, asked, record.at)
        if after is not before:
            yield from self._follow(before, after, _Basis(record, after.project_id), rows)
            yield self._stored(after)

    def _signal(self, signal: WorkflowSignalled, record: Inbound, rows: Rows) -> Handled:
        before = self._find(rows, signal.workflow_id)
        if before is None or signal.signal != Signal.TIMER_FIRED or signal.due_at is None:
            return
        after = workflow.fire_timer(before, signal.due_at)
        if after is None:
            yield from self._forget_payloads(before)
            yield Outbound(self._state, before.workflow_id.encode(), None)
        elif after is not before:
            yield from self._follow(before, after, _Basis(record, after.project_id), rows)
            yield self._stored(after)

    # -- what follows from a transition ----------------------------------------------------------

    def _follow(
        self, before: WorkflowState | None, after: WorkflowState, basis: _Basis, rows: Rows
    ) -> Handled:
        for step in workflow.decide(before, after):
            if isinstance(step, workflow.Assign):
                yield self._assignment(after, step.task, basis, rows)
            else:
                yield from self._ending(after, basis, rows)

    def _assignment(
        self, state: WorkflowState, task: TaskState, basis: _Basis, rows: Rows
    ) -> Outbound:
        request = basis.request or self._stored_request(state, rows)
        results = self._results(state, task.depends_on, basis, rows)
        event = outputs.assigned(state, task, request, results, basis.record.at)
        topic = self._topics.full(topology.TASKS, event.project_id)
        name = event.assignment_id
        try:
            return self._outbound(topic, event, name, state, basis)
        except TooLarge as error:
            answer = outputs.unsendable(event, str(error))
            return self._outbound(self._results_topic, answer, name, state, basis)

    def _ending(self, state: WorkflowState, basis: _Basis, rows: Rows) -> Handled:
        results = self._results(state, [task.task_id for task in state.tasks], basis, rows)
        topic = self._topics.full(topology.FINISHED, basis.project)
        name = f"{state.workflow_id}#{state.version}"
        finished = outputs.finished(state, results)
        try:
            yield self._outbound(topic, finished, name, state, basis)
        except TooLarge as error:
            finished = outputs.without_outputs(finished, str(error))
            yield self._outbound(topic, finished, name, state, basis)
        measured = outputs.measured(state)
        duration_s = (measured.duration_ms or 0.0) / 1000
        project = basis.project
        self._meter.count("crewstream_workflows_total", project=project, status=state.status)
        self._meter.observe("crewstream_workflow_seconds", duration_s, project=project)
        if _log.isEnabledFor(level := telling.level(state)):  # thousands a second may end
            _log.log(level, "workflow %s", state.status, extra=telling.ended(state))
        yield self._outbound(self._metrics, measured, measured.event_id, state, basis)
        if state.status == WorkflowStatus.COMPLETED:  # else a retry command may want them
            yield from self._forget_payloads(state, but=basis.result)

    def _forget_payloads(self, state: WorkflowState, but: TaskFinished | None = None) -> Handled:
        """Delete what is stored beside a row; the result in hand was not stored."""
        row_key = state.workflow_id.encode()
        yield Outbound(self._payloads, row_key, None)
        for task in state.tasks:
            if task.status in _STORED and not (but and but.task_id == task.task_id):
                yield Outbound(self._payloads, row_key + b"/" + task.task_id.encode(), None)

    # -- rows ------------------------------------------------------------------------------------

    def _find(self, rows: Rows, workflow_id: str) -> WorkflowState | None:
        value = rows.get(self._state, workflow_id.encode())
        return None if value is None else self._states.decode(value)

    def _stored(self, state: WorkflowState) -> Outbound:
        name = f"{state.workflow_id}@{state.version}"
        headers = telling.headers(state, "WorkflowState", name=name, source=SOURCE, cause="")
        key, value = state.workflow_id.encode(), self._states.encode(state)
        return Outbound(self._state, key, value, headers, due_at=policy.next_due(state))

    def _stored_request(self, state: WorkflowState, rows: Rows) -> WorkflowRequested:
        value = rows.get(self._payloads, state.workflow_id.encode())
        return self._codec.decode(value, WorkflowRequested)

    def _results(
        self, state: WorkflowState, task_ids: Iterable[str], basis: _Basis, rows: Rows
    ) -> dict[str, TaskFinished]:
        found: dict[str, TaskFinished] = {}
        for task_id in task_ids:
            if basis.result is not None and basis.result.task_id == task_id:
                found[task_id] = basis.result
            elif value := rows.get(self._payloads, f"{state.workflow_id}/{task_id}".encode()):
                found[task_id] = self._codec.decode(value, TaskFinished)
        return found

    # -- records ---------------------------------------------------------------------------------

    def _misplaced(self, record: Inbound, workflow_id: str) -> Outbound | None:
        """The same record on its way to the partition of its row, unless it is there.

        A producer may have chosen another key, or (as librdkafka does by default) another
        partitioner; both cost one extra hop.
        """
        if not _names_a_row(workflow_id):
            return None
        key = workflow_id.encode()
        partition = partition_for(key, self._partitions)
        if record.key == key and record.partition == partition:
            return None
        return Outbound(record.topic, key, record.value, record.headers, partition)

    def _outbound(
        self, topic: str, event: Emitted, name: str, state: WorkflowState, basis: _Basis
    ) -> Outbound:
        key = state.workflow_id
        if isinstance(event, TaskAssigned):  # the tasks of a workflow spread over the workers
            key = f"{key}/{event.task_id}"
        kind = type(event).__name__
        headers = telling.headers(state, kind, name=name, source=SOURCE, cause=basis.cause)
        return Outbound(topic, key.encode(), self._encoded(event), headers)

    def _encoded(self, event: Emitted) -> bytes:
        value = self._codec.encode(event)
        if len(value) > MOST_RECORD_BYTES:
            kind = type(event).__name__
            raise TooLarge(f"{kind} is {len(value)} bytes, at most {MOST_RECORD_BYTES} travel")
        return value


@dataclass(frozen=True, slots=True)
class _Basis:
    """What a transition rests on: the record, and what it brought, decoded."""

    record: Inbound
    project: str
    result: TaskFinished | None = None
    request: WorkflowRequested | None = None

    @property
    def cause(self) -> str:
        return envelope.value_of(self.record.headers, "ce_id") or self.record.position


def _names_a_row(workflow_id: str) -> bool:
    return 0 < len(workflow_id) <= MOST_NAME
