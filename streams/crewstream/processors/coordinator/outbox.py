"""Events of the coordinator as records: named by their cause, keyed by the row they are for."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from crewstream import topology
from crewstream.contracts import envelope
from crewstream.contracts.codec import Codec
from crewstream.contracts.events import (
    Measured,
    Signal,
    TaskAssigned,
    TaskCancelled,
    TaskFinished,
    WorkflowFinished,
    WorkflowRequested,
    WorkflowSignalled,
    WorkflowState,
)
from crewstream.contracts.partitioning import partition_for
from crewstream.contracts.topics import Topics
from crewstream.domain import outputs, telling
from crewstream.errors import TooLarge
from crewstream.records import Inbound, Outbound

SOURCE = "crewstream/coordinator"
# Topics take 8 MiB; headers and framing need some of it.
MOST_RECORD_BYTES = 8 * 1024 * 1024 - 64 * 1024
Emitted = (
    TaskAssigned | TaskCancelled | TaskFinished | WorkflowFinished | WorkflowRequested | Measured
)


@dataclass(frozen=True, slots=True)
class Basis:
    """What a transition rests on: the record, and what it brought, decoded."""

    record: Inbound
    project: str
    result: TaskFinished | None = None
    request: WorkflowRequested | None = None

    @property
    def cause(self) -> str:
        """The id of the event that is handled, else where it stands."""
        return envelope.value_of(self.record.headers, "ce_id") or self.record.position


class Outbox:
    """Makes records; knows the topics' names in this installation."""

    def __init__(self, codec: Codec, topics: Topics) -> None:
        self._codec, self._topics = codec, topics
        self._signals = topics.full(topology.SIGNALS)

    def event(
        self,
        topic: str,
        event: Emitted,
        name: str,
        state: WorkflowState,
        basis: Basis,
        *,
        value: bytes | None = None,
    ) -> Outbound:
        """An event about a workflow, under an id that is a function of its cause.

        `value` are its bytes when there are any yet. Raises TooLarge.
        """
        key, partition = state.workflow_id, None
        if isinstance(event, TaskAssigned):  # the tasks of a workflow spread over the workers
            key = f"{key}/{event.task_id}"
            partition = self._of_key(topic, event)
        kind = type(event).__name__
        headers = telling.headers(state, kind, name=name, source=SOURCE, cause=basis.cause)
        return Outbound(topic, key.encode(), value or self.encoded(event), headers, partition)

    def signal(self, signal: WorkflowSignalled, cause: str = "") -> Outbound:
        """A signal to the row of its `workflow_id`."""
        headers = envelope.headers_for(
            "WorkflowSignalled",
            id=signal.signal_id,
            source=SOURCE,
            subject=signal.workflow_id,
            time=signal.occurred_at,
            tenant_id=signal.tenant_id,
            correlation_id=signal.workflow_id,
            causation_id=cause,
        )
        key = signal.workflow_id.encode()
        return Outbound(self._signals, key, self._codec.encode(signal), headers)

    def fired(self, row: str, due: datetime) -> Outbound:
        """The signal that a row's timer was due."""
        return self.signal(outputs.fired(row, due))

    def fitted(self, finished: WorkflowFinished) -> tuple[WorkflowFinished, bytes]:
        """A result with less in it where it is too large, and its bytes. Raises TooLarge."""
        try:
            return finished, self.encoded(finished)
        except TooLarge as error:
            too_large = error
        for less in outputs.smaller(finished, str(too_large)):
            with suppress(TooLarge):
                return less, self.encoded(less)
        raise too_large

    def encoded(self, event: Emitted) -> bytes:
        """An event as bytes. Raises TooLarge."""
        value = self._codec.encode(event)
        if len(value) > MOST_RECORD_BYTES:
            kind = type(event).__name__
            raise TooLarge(f"{kind} is {len(value)} bytes, at most {MOST_RECORD_BYTES} travel")
        return value

    def _of_key(self, topic: str, event: TaskAssigned) -> int | None:
        """The partition of a concurrency key: one worker sees all of its tasks."""
        if not event.concurrency_key:
            return None
        return partition_for(event.concurrency_key.encode(), self._topics.partitions(topic))


def told(
    kind: Signal, to: str, about: str, tenant_id: str, at: datetime, **more: object
) -> WorkflowSignalled:
    """A signal from one row (`about`) to another; its id is a function of both."""
    return WorkflowSignalled(
        signal_id=f"{to}<{about}:{kind}",
        workflow_id=to,
        signal=kind,
        source_workflow_id=about,
        tenant_id=tenant_id,
        occurred_at=at,
    ).changed(more)
