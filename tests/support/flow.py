"""Coordinator and worker joined by queues in memory: the loop of the picture, without Kafka.

Records wait in partitions as they do in Kafka. A test chooses which goes next, delivers records
twice, or takes the tables back to what they were before a record (a crash after its outputs).
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from crewstream import topology
from crewstream.contracts.codec import Codec
from crewstream.contracts.events import TaskAssigned, WorkflowFinished, WorkflowState
from crewstream.contracts.partitioning import partition_for
from crewstream.contracts.record import Record
from crewstream.contracts.schemas import Schemas
from crewstream.contracts.topics import Topics
from crewstream.domain.plan import Rules
from crewstream.ports import CrewRuns
from crewstream.processors.coordinator import Coordinator
from crewstream.processors.worker import Worker
from crewstream.records import Inbound, Outbound
from crewstream.testing import EchoRuns, FixedClock, MemoryMeter, MemoryOutcomes, MemoryRows

CODEC = Codec(Schemas.load())
TOPICS = Topics.load(replicas=1)
START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Flow:
    """The loop; `sent` has everything that any processor ever sent."""

    runs: CrewRuns = field(default_factory=EchoRuns)
    rules: Rules = field(default_factory=lambda: Rules(dict.fromkeys(TOPICS.projects)))
    meter: MemoryMeter = field(default_factory=MemoryMeter)
    rows: MemoryRows = field(default_factory=MemoryRows)
    clock: FixedClock = field(default_factory=lambda: FixedClock(START))
    queues: dict[tuple[str, int], list[Inbound]] = field(default_factory=dict)
    sent: list[Outbound] = field(default_factory=list)
    offsets: Counter[tuple[str, int]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.coordinator = Coordinator(CODEC, TOPICS, lambda: self.rules, self.meter)
        self.worker = Worker(
            CODEC,
            TOPICS,
            runs=self.runs,
            outcomes=MemoryOutcomes(),
            clock=self.clock,
            meter=self.meter,
            name="test",
        )
        self.loops = {TOPICS.full(t) for t in (topology.RESULTS, topology.SIGNALS)} | {
            TOPICS.full(t, p) for p in TOPICS.projects for t in (topology.TASKS, topology.REQUESTS)
        }
        self.tables = {TOPICS.full(table) for table in topology.COORDINATOR.tables}

    def put(self, topic: str, key: str, value: bytes | Record | None) -> None:
        """A record as another service would produce it."""
        data = CODEC.encode(value) if isinstance(value, Record) else value
        self.append(Outbound(topic, key.encode(), data))

    def append(self, out: Outbound) -> None:
        key = out.key or b""
        count = TOPICS.partitions(out.topic)
        partition = partition_for(key, count) if out.partition is None else out.partition
        place = out.topic, partition
        self.queues.setdefault(place, []).append(
            Inbound(
                out.topic,
                partition,
                self.offsets[place],
                out.key,
                out.value,
                out.headers,
                int(self.clock.at.timestamp() * 1000),
            )
        )
        self.offsets[place] += 1

    def handle(self, record: Inbound, *, crash: random.Random | None = None) -> None:
        """Handle one record; with `crash` its outputs get out, and only the first of its rows."""
        if record.topic.endswith(".tasks"):
            outputs = asyncio.run(self.worker.handle(record))
        else:
            outputs = self.coordinator.handle(record, self.rows)
        # Rows beside those of workflows are confirmed before them.
        rows = [out for out in outputs if out.topic in self.tables]
        rows.sort(key=lambda out: out.topic == TOPICS.full(topology.STATE))
        # Of a crash, none of the workflows' own: an event with its row is never handled again.
        beside = [out for out in rows if out.topic != TOPICS.full(topology.STATE)]
        for out in beside[: crash.randint(0, len(beside))] if crash else rows:
            self.rows.put(out.topic, out.key or b"", out.value)
            self.sent.append(out)
        for out in outputs:
            if out.topic in self.tables:
                continue
            self.sent.append(out)
            if out.topic in self.loops:
                self.append(out)

    def drain(self, chance: random.Random | None = None, trouble: float = 0.0) -> None:
        """Handle records until none is left; with `chance`, in any order that Kafka allows.

        With a probability of `trouble` each, a record is delivered twice, or the coordinator
        crashes after its outputs and the record comes again.
        """
        chance = chance or random.Random(0)
        while any(self.queues.values()):
            place = chance.choice(
                sorted(place for place, waiting in self.queues.items() if waiting)
            )
            record = self.queues[place].pop(0)
            if chance.random() < trouble:
                self.handle(record, crash=chance)
            self.handle(record)
            if chance.random() < trouble:
                self.queues[place].insert(0, record)

    def fire_due(self) -> bool:
        """Let every timer fire that is due now; tell whether there was one."""
        due = [
            self.coordinator.fire(key, at)
            for (topic, key), value in list(self.rows.tables.items())
            if topic == TOPICS.full(topology.STATE)
            and (at := self.coordinator.due(topic, value)) is not None
            and at <= self.clock.at
        ]
        for signal in due:
            self.append(signal)
        return bool(due)

    def state(self, workflow_id: str) -> WorkflowState | None:
        value = self.rows.get(TOPICS.full(topology.STATE), workflow_id.encode())
        return None if value is None else CODEC.decode(value, WorkflowState)

    def finished(self) -> Iterator[WorkflowFinished]:
        for out in self.sent:
            if out.topic.endswith(".workflow.results"):
                yield CODEC.decode(out.value, WorkflowFinished)

    def assigned(self) -> Iterator[TaskAssigned]:
        for out in self.sent:
            if out.topic.endswith(".tasks"):
                yield CODEC.decode(out.value, TaskAssigned)

    def letters(self) -> list[Outbound]:
        return [out for out in self.sent if out.topic == TOPICS.full(topology.DEAD_LETTERS)]
