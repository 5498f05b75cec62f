"""The rows of workflows: what each event makes of one, and all that goes out because of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from crewstream import topology
from crewstream.contracts import envelope
from crewstream.contracts.codec import Codec
from crewstream.contracts.events import (
    Fault,
    Signal,
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
from crewstream.contracts.topics import Topics
from crewstream.domain import commands, grain, outputs, policy, references, steps, telling, workflow
from crewstream.domain.names import MOST_NAME
from crewstream.domain.plan import Rules, content_digest, cut, faults, shortened
from crewstream.errors import Conflict, Invalid, TooLarge, UnknownWorkflow
from crewstream.meters import Meter
from crewstream.ports import Rows
from crewstream.processors.coordinator.admission import Admission
from crewstream.processors.coordinator.dependencies import Dependencies
from crewstream.processors.coordinator.outbox import SOURCE, Basis, Outbox
from crewstream.processors.coordinator.payloads import AWAITED, REQUEST, Payloads, Written
from crewstream.records import Inbound, Outbound

Handled = Iterator[Outbound]
# What a task in these states brought is kept, for those after it and for the result.
_KEPT = frozenset({TaskStatus.SUCCEEDED, TaskStatus.FAILED})
_log = logging.getLogger(__name__)


class Workflows:
    """One handler a kind of event that is for a workflow's row."""

    def __init__(
        self,
        codec: Codec,
        topics: Topics,
        rules: Callable[[], Rules],
        meter: Meter,
        *,
        outbox: Outbox,
        payloads: Payloads,
        admission: Admission,
    ) -> None:
        self._topics, self._rules, self._meter = topics, rules, meter
        self._outbox, self._payloads, self._admission = outbox, payloads, admission
        self._state = topics.full(topology.STATE)
        self._metrics = topics.full(topology.METRICS)
        self._results = topics.full(topology.RESULTS)
        self._cancellations = topics.full(topology.CANCELLATIONS)
        self._requests = {topics.full(topology.REQUESTS, p): p for p in topics.projects}
        self._states = Recent(codec, WorkflowState)
        self.dependencies = Dependencies(
            codec, topics, outbox, find=self._find, finished=self._finished
        )

    def due(self, value: bytes) -> datetime | None:
        """When the timer of a stored row is due next."""
        return policy.next_due(self._states.decode(value))

    # -- one handler a kind of event -------------------------------------------------------------

    def requested(self, request: WorkflowRequested, record: Inbound, rows: Rows) -> Handled:
        """A new workflow, the same request again, or another one of the same id."""
        # Without a usable id there is no row: the rejection is named by the position instead.
        named = 0 < len(request.workflow_id) <= MOST_NAME
        digest = content_digest(request)
        if named and (known := self._find(rows, request.workflow_id)):
            if known.request_sha256 != digest:
                raise Conflict(request.workflow_id)
            return
        project, rules = self._requests[record.topic], self._rules()
        wrong = faults(request, rules, project)
        stored = record.value
        if not wrong:
            request, stored, wrong = self._cut(request, rules, stored)
        if wrong:
            request = shortened(request, request.workflow_id if named else record.position)
        trace = envelope.value_of(record.headers, "traceparent")[:MOST_NAME]
        limited = not rules.limits.tenant(request.tenant_id).admits_all
        state = workflow.accept(request, wrong, record.at, digest, trace, limited=limited)
        written: list[Outbound] = []
        if not wrong:
            state, written = self._payloads.placed(state, REQUEST, stored)
        basis = Basis(record, project, request=request)
        yield from self._follow(None, state, basis, rows)
        yield from written
        if named:
            yield self._stored(state)

    def finished(self, result: TaskFinished, record: Inbound, rows: Rows) -> Handled:
        """An attempt has ended; one that is not awaited changes nothing."""
        before = self._find(rows, result.workflow_id)
        if before is None:  # early: its assignment comes again, and with it the result
            return
        after = workflow.finish_task(before, result, record.at)
        if after is before:
            return
        task = workflow.find_task(after, result.task_id)
        written: list[Outbound] = []
        if task is not None and task.status in _KEPT:
            after, written = self._payloads.placed(after, result.task_id, record.value)
        yield from self._moved(
            before, after, Basis(record, after.project_id, result), rows, written
        )

    def commanded(self, asked: WorkflowCommanded, record: Inbound, rows: Rows) -> Handled:
        """A person or service asks for another course. Raises UnknownWorkflow."""
        before = self._find(rows, asked.workflow_id)
        if before is None:
            raise UnknownWorkflow(asked.workflow_id)
        after = commands.command(before, asked, record.at)
        yield from self._moved(before, after, Basis(record, after.project_id), rows)

    def due_now(self, signal: WorkflowSignalled, record: Inbound, rows: Rows) -> Handled:
        """The timer of the row was due."""
        before = self._find(rows, signal.workflow_id)
        if before is None or signal.due_at is None:
            return
        after = workflow.fire_timer(before, signal.due_at)
        if after is None:
            yield from self._payloads.forget(before, rows)
            yield Outbound(self._state, before.workflow_id.encode(), None)
        else:
            yield from self._moved(before, after, Basis(record, after.project_id), rows)

    def resolved(self, signal: WorkflowSignalled, record: Inbound, rows: Rows) -> Handled:
        """A workflow that this one waits for has ended."""
        before = self._find(rows, signal.workflow_id)
        if before is None:
            return
        other, written = signal.source_workflow_id, list[Outbound]()
        after = workflow.resolve(before, other, _status(signal), record.at)
        if after is before:
            return
        if signal.result and outputs.may_refer(self._payloads.request(before, rows)):
            self._payloads.check(signal.result)
            after, written = self._payloads.placed(after, AWAITED + other, signal.result)
        written_rows = Written(rows, written)
        yield from self._moved(
            before, after, Basis(record, after.project_id), written_rows, written
        )

    def admitted(self, signal: WorkflowSignalled, record: Inbound, rows: Rows) -> Handled:
        """The limits of its tenant let it run."""
        before = self._find(rows, signal.workflow_id)
        if before is not None:
            after = workflow.admit(before, record.at)
            yield from self._moved(before, after, Basis(record, after.project_id), rows)

    def refused(self, signal: WorkflowSignalled, record: Inbound, rows: Rows) -> Handled:
        """It waits in a cycle, or its tenant is over its limits."""
        before = self._find(rows, signal.workflow_id)
        if before is not None:
            after = workflow.refuse(before, _fault(signal), record.at)
            yield from self._moved(before, after, Basis(record, after.project_id), rows)

    def _cut(
        self, request: WorkflowRequested, rules: Rules, value: bytes | None
    ) -> tuple[WorkflowRequested, bytes | None, tuple[Fault, ...]]:
        """The request with its crews cut, and its bytes: crews may be announced otherwise later."""
        parts = cut(request, rules)
        if parts is request:
            return request, value, ()
        try:
            return parts, self._outbox.encoded(parts), ()
        except TooLarge as error:
            return request, value, (grain.too_large(error),)

    # -- what follows from a transition ----------------------------------------------------------

    def _moved(
        self,
        before: WorkflowState,
        after: WorkflowState,
        basis: Basis,
        rows: Rows,
        written: Iterable[Outbound] = (),
    ) -> Handled:
        if after is before:
            return
        yield from self._follow(before, after, basis, rows)
        yield from written
        if after.status == WorkflowStatus.COMPLETED:
            after, let_go = self._payloads.done(after, rows)
            yield from let_go
        yield self._stored(after)

    def _follow(
        self, before: WorkflowState | None, after: WorkflowState, basis: Basis, rows: Rows
    ) -> Handled:
        request = basis.request
        for step in steps.decide(before, after, basis.result.task_id if basis.result else ""):
            match step:
                case steps.Assign(task):
                    # Once, however many tasks are released.
                    request = request or self._payloads.request(after, rows)
                    yield self._assignment(after, task, request, basis, rows)
                case steps.Cancel(task):
                    yield self._cancellation(after, task, basis)
                case steps.Watch(workflow_id):
                    yield self.dependencies.watch(after, workflow_id)
                case steps.Unwatch(workflow_id):
                    yield self.dependencies.unwatch(after, workflow_id)
                case steps.Enter():
                    yield self._admission.enter(after)
                case steps.Leave():
                    yield self._admission.leave(after)
                case steps.End():
                    yield from self._ending(after, basis, rows)

    def _assignment(
        self,
        state: WorkflowState,
        task: TaskState,
        request: WorkflowRequested,
        basis: Basis,
        rows: Rows,
    ) -> Outbound:
        asked = outputs.requested(request, task.task_id)
        inputs, unresolved = outputs.laid_over(request.inputs, asked.inputs), ""
        if references.may_refer(inputs):
            try:
                inputs = self._payloads.filled(inputs, state, request, rows, basis.result)
            except (references.Unresolved, RecursionError) as error:
                unresolved = str(error)
        results = self._payloads.results(state, task.depends_on, rows, basis.result)
        event = outputs.assigned(state, task, request, results, inputs)
        topic, name = self._topics.full(topology.TASKS, event.project_id), event.assignment_id
        if unresolved:
            answer = outputs.unsendable(event, "inputs.unresolved", unresolved)
            return self._outbox.event(self._results, answer, name, state, basis)
        try:
            return self._outbox.event(topic, event, name, state, basis)
        except TooLarge as error:
            message = f"{error}; let tasks return references to large data"
            answer = outputs.unsendable(event, "inputs.too_large", message)
            return self._outbox.event(self._results, answer, name, state, basis)

    def _cancellation(self, state: WorkflowState, task: TaskState, basis: Basis) -> Outbound:
        event = outputs.cancelled(state, task)
        name = f"{event.assignment_id}#cancelled"
        return self._outbox.event(self._cancellations, event, name, state, basis)

    def _ending(self, state: WorkflowState, basis: Basis, rows: Rows) -> Handled:
        topic = self._topics.full(topology.FINISHED, basis.project)
        name = f"{state.workflow_id}#{state.version}"
        finished, value = self._outbox.fitted(self._finished(state, rows, basis.result))
        yield self._outbox.event(topic, finished, name, state, basis, value=value)
        measured = outputs.measured(state)
        duration_s = (measured.duration_ms or 0.0) / 1000
        project = basis.project
        self._meter.count("crewstream_workflows_total", project=project, status=state.status)
        self._meter.observe("crewstream_workflow_seconds", duration_s, project=project)
        if _log.isEnabledFor(level := telling.level(state)):  # thousands a second may end
            _log.log(level, "workflow %s", state.status, extra=telling.ended(state))
        yield self._outbox.event(self._metrics, measured, measured.event_id, state, basis)
        yield from self.dependencies.ended(state, finished, rows)

    # -- rows ------------------------------------------------------------------------------------

    def _find(self, rows: Rows, workflow_id: str) -> WorkflowState | None:
        value = rows.get(self._state, workflow_id.encode())
        return None if value is None else self._states.decode(value)

    def _finished(
        self, state: WorkflowState, rows: Rows, result: TaskFinished | None = None
    ) -> WorkflowFinished:
        names = [task.task_id for task in state.tasks]
        return outputs.finished(state, self._payloads.results(state, names, rows, result))

    def _stored(self, state: WorkflowState) -> Outbound:
        name = f"{state.workflow_id}@{state.version}"
        headers = telling.headers(state, "WorkflowState", name=name, source=SOURCE, cause="")
        key, value = state.workflow_id.encode(), self._states.encode(state)
        return Outbound(self._state, key, value, headers, due_at=policy.next_due(state))


def _status(signal: WorkflowSignalled) -> WorkflowStatus:
    """How the workflow ended that a signal is about. Raises Invalid."""
    try:
        return WorkflowStatus(signal.status)
    except ValueError as error:
        raise Invalid(f"{signal.signal_id}: {error}") from error


def _fault(signal: WorkflowSignalled) -> Fault:
    if signal.signal == Signal.DEPENDENCY_REFUSED and not signal.path:
        message = f"too many workflows wait for {signal.source_workflow_id!r} already"
        return Fault(code="after.too_many", path="after", message=message)
    if signal.signal == Signal.DEPENDENCY_REFUSED:
        message = "workflows wait for one another: " + " -> ".join(signal.path)
        return Fault(code="after.cycle", path="after", message=message)
    message = "the tenant's limits are reached, and say that more is rejected: try again later"
    return Fault(code="tenant.over_quota", path="tenant_id", message=message)
