"""The rows of recurring schedules, whose timers ask for workflows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from crewstream import topology
from crewstream.contracts import envelope
from crewstream.contracts.codec import Codec
from crewstream.contracts.events import (
    ScheduleDefined,
    ScheduleState,
    WorkflowRequested,
    WorkflowSignalled,
)
from crewstream.contracts.topics import Topics
from crewstream.domain import schedule
from crewstream.domain.plan import Rules
from crewstream.errors import InvalidSchedule
from crewstream.ports import Rows
from crewstream.processors.coordinator.outbox import SOURCE
from crewstream.records import Inbound, Outbound


class Schedules:
    """Takes definitions and timers. `rules` is asked at each definition."""

    def __init__(self, codec: Codec, topics: Topics, rules: Callable[[], Rules]) -> None:
        self._codec, self._topics, self._rules = codec, topics, rules
        self._table = topics.full(topology.SCHEDULE_STATE)

    def due(self, value: bytes) -> datetime | None:
        """When the timer of a stored row is due next."""
        return self._codec.decode(value, ScheduleState).next_due_at

    def define(self, event: ScheduleDefined, record: Inbound, rows: Rows) -> Iterator[Outbound]:
        """A schedule is added, changed or removed. Raises InvalidSchedule."""
        key = schedule.row_of(event.schedule_id)
        before = self._find(rows, key)
        if event.removed:
            if before is not None:
                yield Outbound(self._table, key.encode(), None)
            return
        if wrong := schedule.faults(event, self._rules(), record.at, before):
            raise InvalidSchedule(event.schedule_id, wrong)
        after = schedule.define(before, event)
        if after is not before:
            # A number that no record has room for is a fault of the definition, not of its runs.
            self._codec.encode(schedule.request_of(after, event.defined_at))
            yield self._stored(after)

    def fire(self, signal: WorkflowSignalled, record: Inbound, rows: Rows) -> Iterator[Outbound]:
        """A row's timer was due: its requests first, so that a crash between repeats them."""
        before = self._find(rows, signal.workflow_id)
        if before is None or signal.due_at is None:
            return
        try:
            after, requests = schedule.fire(before, signal.due_at, record.at)
        except ValueError as error:  # stored by a version that takes more than this one
            raise InvalidSchedule(before.schedule_id, [str(error)]) from error
        for request in requests:
            yield self._asked(request, signal)
        if after is not before:
            yield self._stored(after)

    def _asked(self, request: WorkflowRequested, signal: WorkflowSignalled) -> Outbound:
        headers = envelope.headers_for(
            "WorkflowRequested",
            id=request.workflow_id,
            source=SOURCE,
            subject=request.workflow_id,
            time=request.requested_at,
            tenant_id=request.tenant_id,
            correlation_id=request.workflow_id,
            causation_id=signal.signal_id,
        )
        topic = self._topics.full(topology.REQUESTS, request.project_id)
        return Outbound(topic, request.workflow_id.encode(), self._codec.encode(request), headers)

    def _find(self, rows: Rows, key: str) -> ScheduleState | None:
        value = rows.get(self._table, key.encode())
        return None if value is None else self._codec.decode(value, ScheduleState)

    def _stored(self, state: ScheduleState) -> Outbound:
        key = schedule.row_of(state.schedule_id).encode()
        return Outbound(self._table, key, self._codec.encode(state), due_at=state.next_due_at)
