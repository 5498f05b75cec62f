"""Requests, commands, signals, schedules and task results -> state, assignments, workflow results.

Every output is a function of the record that is handled and the rows that it finds: the only
clock is the record's own timestamp. Handling a record twice emits the same records again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

from crewstream import topology
from crewstream.contracts.codec import Codec
from crewstream.contracts.events import (
    ScheduleDefined,
    Signal,
    TaskFinished,
    WorkflowCommanded,
    WorkflowRequested,
    WorkflowSignalled,
)
from crewstream.contracts.topics import Topics, partition_for
from crewstream.domain import schedule, telling
from crewstream.domain.names import MOST_NAME
from crewstream.domain.plan import Rules
from crewstream.errors import Invalid
from crewstream.meters import Meter
from crewstream.ports import Rows
from crewstream.processors.coordinator.admission import Admission
from crewstream.processors.coordinator.outbox import Outbox
from crewstream.processors.coordinator.payloads import Payloads
from crewstream.processors.coordinator.schedules import Schedules
from crewstream.processors.coordinator.workflows import Workflows
from crewstream.records import Inbound, Outbound

__all__ = ["Coordinator"]

Handle = Callable[[Any, Inbound, Rows], Iterator[Outbound]]
Taken = WorkflowRequested | WorkflowCommanded | WorkflowSignalled | ScheduleDefined | TaskFinished
_log = logging.getLogger(__name__)


class Coordinator:
    """Applies one record at a time to the row that it is for.

    `rules` is asked at each request, because workers may announce new crews at any time.
    """

    def __init__(
        self, codec: Codec, topics: Topics, rules: Callable[[], Rules], meter: Meter
    ) -> None:
        self._codec, self._meter = codec, meter
        self._letters = topics.full(topology.DEAD_LETTERS)
        self._partitions = topics.partitions(topics.full(topology.STATE))
        self._outbox = Outbox(codec, topics)
        payloads = Payloads(codec, topics)
        admission = Admission(codec, topics, self._outbox, lambda: rules().limits)
        self._workflows = workflows = Workflows(
            codec, topics, rules, meter,
            outbox=self._outbox, payloads=payloads, admission=admission,
        )  # fmt: skip
        self._schedules = Schedules(codec, topics, rules)
        self._schedule_rows = topics.full(topology.SCHEDULE_STATE)
        dependencies = workflows.dependencies
        self._signals: dict[Signal, Handle] = {
            Signal.TIMER_FIRED: self._due_now,
            Signal.DEPENDENCY_WATCHED: dependencies.watched,
            Signal.DEPENDENCY_UNWATCHED: dependencies.unwatched,
            Signal.DEPENDENCY_PROBED: dependencies.probed,
            Signal.DEPENDENCY_RESOLVED: workflows.resolved,
            Signal.DEPENDENCY_REFUSED: workflows.refused,
            Signal.ADMISSION_REQUESTED: admission.requested,
            Signal.ADMISSION_RELEASED: admission.released,
            Signal.ADMISSION_GRANTED: workflows.admitted,
            Signal.ADMISSION_REFUSED: workflows.refused,
        }
        self._handlers: dict[str, tuple[type[Taken], Handle]] = {
            topics.full(topology.RESULTS): (TaskFinished, workflows.finished),
            topics.full(topology.COMMANDS): (WorkflowCommanded, workflows.commanded),
            topics.full(topology.SIGNALS): (WorkflowSignalled, self._signalled),
            topics.full(topology.SCHEDULES): (ScheduleDefined, self._schedules.define),
            **{
                topics.full(topology.REQUESTS, project): (WorkflowRequested, workflows.requested)
                for project in topics.projects
            },
        }

    def handle(self, record: Inbound, rows: Rows) -> Sequence[Outbound]:
        """What must be sent because of a record, in order; rows of the tables last."""
        model, handle = self._handlers[record.topic]
        try:
            event = self._codec.decode(record.value, model)
            moved = self._misplaced(record, _row_of(event))
            return [moved] if moved else list(handle(event, record, rows))
        except Invalid as error:
            self._meter.count("crewstream_dead_letters_total", topic=record.topic)
            letter = telling.letter(record.position, record.key, record.headers, error)
            _log.warning("dead letter", extra=letter)
            return [record.dead_letter(self._letters, error)]

    def due(self, topic: str, value: bytes) -> datetime | None:
        """When the timer of a stored row of a table is due next."""
        keeper = self._schedules if topic == self._schedule_rows else self._workflows
        return keeper.due(value)

    def fire(self, key: bytes, due: datetime) -> Outbound:
        """The signal that a row's timer was due."""
        return self._outbox.fired(key.decode(), due)

    def _signalled(
        self, signal: WorkflowSignalled, record: Inbound, rows: Rows
    ) -> Iterator[Outbound]:
        handle = self._signals.get(signal.signal)
        if handle is not None:  # else it is of a newer version than this process
            yield from handle(signal, record, rows)

    def _due_now(
        self, signal: WorkflowSignalled, record: Inbound, rows: Rows
    ) -> Iterator[Outbound]:
        scheduled = signal.workflow_id.startswith(schedule.ROW)
        fire = self._schedules.fire if scheduled else self._workflows.due_now
        return fire(signal, record, rows)

    def _misplaced(self, record: Inbound, row: str) -> Outbound | None:
        """The same record on its way to the partition of its row, unless it is there.

        A producer may have chosen another key, or (as librdkafka does by default) another
        partitioner; both cost one extra hop.
        """
        if not 0 < len(row) <= MOST_NAME:
            return None
        key = row.encode()
        partition = partition_for(key, self._partitions)
        if record.key == key and record.partition == partition:
            return None
        return Outbound(record.topic, key, record.value, record.headers, partition)


def _row_of(event: Taken) -> str:
    """The key of the row that an event is for."""
    if isinstance(event, ScheduleDefined):
        return schedule.row_of(event.schedule_id)
    return event.workflow_id
