"""What Kafka's topics hold when it is over: the only witness that counts."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from crewstream import topology
from crewstream.client import Client
from crewstream.contracts.codec import Codec
from crewstream.contracts.events import (
    Measured,
    TaskAssigned,
    TaskFinished,
    WorkflowFinished,
    WorkflowRequested,
    WorkflowState,
)
from crewstream.contracts.record import Record
from crewstream.contracts.schemas import Schemas
from crewstream.contracts.topics import Topics
from crewstream.errors import Undecodable
from crewstream.records import Inbound

R = TypeVar("R", bound=Record)


@dataclass(frozen=True, slots=True)
class Entry(Generic[R]):
    """A record and its event; `at_s` is when the broker or the producer wrote it (epoch)."""

    record: Inbound
    event: R

    @property
    def at_s(self) -> float:
        return self.record.timestamp_ms / 1000


@dataclass(frozen=True, slots=True)
class Log:
    """Every record of the topics that are counted, partition by partition."""

    requests: Sequence[Entry[WorkflowRequested]]
    assignments: Sequence[Entry[TaskAssigned]]
    results: Sequence[Entry[TaskFinished]]
    states: Sequence[Entry[WorkflowState]]
    ends: Sequence[Entry[WorkflowFinished]]
    measured: Sequence[Entry[Measured]]
    letters: Sequence[Inbound]


async def read(client: Client, topics: Topics) -> Log:
    """Read them from their beginnings to their ends, as they are now. Raises Unreachable."""
    codec = Codec(Schemas.load())

    async def events(template: str, model: type[R]) -> list[Entry[R]]:
        found = list[Entry[R]]()
        for topic in topics.all():
            if topic.template != template:
                continue
            async for record in client.records(topic.name, start="beginning", follow=False):
                # What nobody can read is counted where it ends up: as a dead letter.
                with contextlib.suppress(Undecodable):
                    found.append(Entry(record, codec.decode(record.value, model)))
        return found

    letters = client.records(topics.full(topology.DEAD_LETTERS), start="beginning", follow=False)
    return Log(
        requests=await events(topology.REQUESTS, WorkflowRequested),
        assignments=await events(topology.TASKS, TaskAssigned),
        results=await events(topology.RESULTS, TaskFinished),
        states=await events(topology.STATE, WorkflowState),
        ends=await events(topology.FINISHED, WorkflowFinished),
        measured=await events(topology.METRICS, Measured),
        letters=[record async for record in letters],
    )
