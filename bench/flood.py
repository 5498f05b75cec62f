"""One tenant floods a worker: how long another's single task waits, and who gets which share."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from bench import floor
from bench.figures import Figure
from bench.stage import PREFIX, SETTINGS, stage

from crewstream import topology
from crewstream.contracts.codec import Codec
from crewstream.contracts.events import TaskAssigned
from crewstream.contracts.schemas import Schemas
from crewstream.contracts.topics import Topics

FLOOD = 10_000
PATIENCE_S = 300.0
SLEEP_S = 0.01
"""Of each task: an echo that holds its slot for so long."""
SLOTS = 16
LIMITS = "tenants: {heavy: {weight: 3}}\n"


@dataclass(slots=True)
class Feed:
    """Assigns tasks to the worker, and sees whose results come, in their order."""

    producer: AIOKafkaProducer
    consumer: AIOKafkaConsumer
    topics: Topics
    codec: Codec
    assigned: int = 0
    ended: list[str] = field(default_factory=list)
    """Names of tasks, in the order of their results since the last `assign`."""

    async def assign(self, tenants: Iterable[str]) -> None:
        """A task for each, all confirmed; their names begin with that of the tenant."""
        self.ended.clear()
        for tenant in tenants:
            await self.add(tenant)
        await self.producer.flush()

    async def add(self, tenant: str) -> str:
        """One more task; its name."""
        self.assigned += 1
        name = f"{tenant}-{self.assigned}"
        topic = self.topics.full(topology.TASKS, floor.PROJECT)
        value = self.codec.encode(_task(name, tenant))
        await self.producer.send(topic, value, key=f"{name}/t".encode())
        return name

    async def until(self, count: int) -> None:
        """So many results have come. Raises TimeoutError."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.ended) < count:
                for records in (await self.consumer.getmany(timeout_ms=100)).values():
                    self.ended += [record.key.decode() for record in records]


async def figures(flood: int = FLOOD) -> Sequence[Figure]:
    """The worker alone is fed, without a coordinator: what is measured is whose turn it is."""
    with tempfile.TemporaryDirectory(prefix="crewstream-bench-") as folder:
        limits = Path(folder) / "limits.yaml"
        limits.write_text(LIMITS)
        settings = {
            **SETTINGS,
            "CREWSTREAM_WORKER_RUNNERS": "1",
            "CREWSTREAM_WORKER_CONCURRENCY": str(SLOTS),
            "CREWSTREAM_LIMITS": str(limits),
        }
        async with stage(settings) as running, running.running(running.product("worker")):
            return await _measure(running.installation.kafka.bootstrap, flood)


async def _measure(bootstrap: str, flood: int) -> Sequence[Figure]:
    topics = Topics.load(prefix=PREFIX, replicas=1)
    async with (
        AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=5) as producer,
        AIOKafkaConsumer(topics.full(topology.RESULTS), bootstrap_servers=bootstrap) as consumer,
    ):
        await consumer.seek_to_end()
        feed = Feed(producer, consumer, topics, Codec(Schemas.load()))
        await feed.assign(["warm"] * 200)
        await feed.until(200)
        idle_s = await _wait_s(feed, "single", 0)
        # One more of the flooding tenant has its place behind the others: first in, first out.
        in_turn_s = await _wait_s(feed, "flood", flood)
        fair_s = await _wait_s(feed, "single", flood)
        equal = await _share(feed, "one", "other", flood // 2)
        heavy = await _share(feed, "heavy", "light", flood // 2)
    queue = f"behind {flood:,} of another tenant"
    return [
        Figure("flood", "wait of a task, nothing queued", 1000 * idle_s, "ms"),
        Figure("flood", f"wait of a task {queue}", 1000 * fair_s, "ms"),
        Figure("flood", f"the same behind {flood:,} of its own tenant", 1000 * in_turn_s, "ms"),
        Figure("flood", "share of one of two equal tenants", 100 * equal, "%"),
        Figure("flood", "share of a tenant of weight 3 beside one of 1", 100 * heavy, "%"),
    ]


async def _wait_s(feed: Feed, tenant: str, flood: int) -> float:
    """From the call that sends the last task to its result, read from Kafka."""
    await feed.assign(["flood"] * flood)
    came, began_s = len(feed.ended), time.perf_counter()
    last = await feed.add(tenant)
    while last not in feed.ended[came:]:
        came = len(feed.ended)
        await feed.until(came + 1)
    took_s = time.perf_counter() - began_s
    await feed.until(flood + 1)
    return took_s


async def _share(feed: Feed, first: str, second: str, each: int) -> float:
    """Of the results while both had work waiting, those of the first."""
    await feed.assign([first, second] * each)
    await feed.until(2 * each)
    seen = feed.ended[:each]
    return sum(name.startswith(first) for name in seen) / len(seen)


def _task(name: str, tenant: str) -> TaskAssigned:
    return TaskAssigned(
        assignment_id=f"{name}/t/1",
        workflow_id=name,
        task_id="t",
        attempt=1,
        tenant_id=tenant,
        project_id=floor.PROJECT,
        crew="echo",
        inputs=f'{{"sleep_s": {SLEEP_S}}}',
        assigned_at=datetime.now(UTC),
    )
