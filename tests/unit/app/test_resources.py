"""A worker has as many runners as its work needs and its machine bears, and says what it uses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import pytest

from crewstream.app.resources import Resources, Telling
from crewstream.config import Settings
from crewstream.contracts.codec import Codec
from crewstream.contracts.events import Measured, Operation
from crewstream.contracts.schemas import Schemas
from crewstream.errors import Unreachable
from crewstream.records import Outbound
from crewstream.testing import MemoryMeter
from crewstream_agents.machine import Use
from crewstream_agents.sizing import PRESSED_LOOKS, Bounds
from crewstream_agents.ticket import PoolState

BOUNDS = Bounds(least=2, most=8, concurrency=4)
STATE = PoolState(runners=2, slots=8, busy=8, waiting=0, rss_bytes=1000)
CALM = Use(cpu=0.2, memory=0.3, memory_bytes=3, memory_limit_bytes=10)


@dataclass
class APool:
    state: PoolState = STATE
    sizes: list[int] = field(default_factory=list)

    def resize(self, runners: int) -> None:
        self.sizes.append(runners)


@dataclass
class AQueue:
    jobs: int = 0
    limits: list[int] = field(default_factory=list)

    def resize(self, limit: int) -> None:
        self.limits.append(limit)

    def waiting(self) -> int:
        return self.jobs

    def backlog_s(self) -> Mapping[str, float]:
        return {"p": 12.5, "q": 1.0}


@dataclass
class AMachine:
    use: Use = CALM
    cores: int = 4

    def look(self) -> Use:
        return self.use


@dataclass
class Kafka:
    sent: list[Outbound] = field(default_factory=list)
    away: bool = False

    async def send(self, records: Iterable[Outbound]) -> None:
        if self.away:
            raise Unreachable("Kafka is away")
        self.sent += records


class Bench:
    """A worker's resources, with all that is around them."""

    def __init__(self, every_s: float = 1e-9, *, jobs: int = 0) -> None:
        self.pool, self.queue, self.machine = APool(), AQueue(jobs), AMachine()
        self.meter, self.kafka, self.codec = MemoryMeter(), Kafka(), Codec(Schemas.load())
        telling = Telling(self.kafka, self.codec, "crewstream.metrics", "host/1", every_s)
        self.resources = Resources(
            self.pool, BOUNDS, self.machine, queue=self.queue, meter=self.meter, telling=telling
        )

    async def looks(self, count: int) -> None:
        for _ in range(count):
            await self.resources.look()

    def told(self) -> Sequence[Measured]:
        return [self.codec.decode(record.value, Measured) for record in self.kafka.sent]


async def test_queued_work_brings_runners_and_room_for_runs() -> None:
    bench = Bench(jobs=1000)

    await bench.looks(3)

    assert bench.pool.sizes == [4, 8]
    assert bench.queue.limits == [16, 32]


@pytest.mark.parametrize("pressed", [replace(CALM, cpu=0.9), replace(CALM, memory=0.8)])
async def test_a_machine_that_is_short_of_something_loses_runners(pressed: Use) -> None:
    bench = Bench(jobs=1000)
    await bench.looks(3)
    bench.machine.use = pressed

    await bench.looks(10 * PRESSED_LOOKS)

    assert bench.pool.sizes == [4, 8, 7, 6, 5, 4, 3, 2]


async def test_what_is_used_is_in_the_metrics() -> None:
    bench = Bench()

    await bench.looks(1)

    assert bench.meter.values == {
        "crewstream_runners": [2],
        "crewstream_slots": [8],
        "crewstream_slots_busy": [8],
        "crewstream_runners_bytes": [1000],
        "crewstream_cpu_ratio": [0.2],
        "crewstream_memory_ratio": [0.3],
    }


async def test_what_is_used_is_told_on_kafka() -> None:
    bench = Bench(jobs=3)

    await bench.looks(2)

    first, second = bench.told()
    assert (first.operation, first.worker) == (Operation.RESOURCE, "host/1")
    assert first.cpu_ratio == pytest.approx(0.8)  # of one core: a fifth of four
    assert (first.memory_bytes or 0) > 1000
    assert (first.tenant_id, first.cost_usd) == ("", Decimal(0))
    assert first.event_id != second.event_id
    assert first.attributes == {
        "cpu": "0.2000",
        "memory": "0.3000",
        "runners": "2",
        "slots": "8",
        "busy": "8",
        "queued": "3",
        "backlog_s": "13.500",
    }
    assert dict(bench.kafka.sent[0].headers)["ce_type"].endswith(b"Measured")


async def test_nothing_is_told_where_nobody_wants_it_or_kafka_is_away() -> None:
    silent, away = Bench(every_s=0.0), Bench()
    away.kafka.away = True

    await silent.looks(2)
    await away.looks(2)

    assert not silent.kafka.sent
    assert not away.kafka.sent


@pytest.mark.parametrize(
    ("said", "cores", "runners"),
    [
        ({}, 4, (4, 16)),
        ({"worker_runners": 3}, 4, (3, 3)),
        ({"worker_runners": 3, "worker_runners_max": 5}, 4, (3, 5)),
        ({"worker_runners_max": 6}, 2, (2, 6)),
        ({"worker_runners": 3, "worker_runners_max": 1}, 2, (3, 3)),
    ],
)
def test_a_number_that_is_set_is_kept_to(
    said: Mapping[str, Any], cores: int, runners: tuple[int, int]
) -> None:
    assert Settings(**said).runners(cores) == runners
