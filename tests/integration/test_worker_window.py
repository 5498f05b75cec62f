"""A real worker with two slots: what it is told to cancel, and whose turn it is."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer

from crewstream import Client, topology
from crewstream.adapters import kafka as admin
from crewstream.contracts.connection import KafkaConnection
from crewstream.contracts.events import Outcome, TaskAssigned, TaskCancelled, TaskFinished
from crewstream.contracts.record import Record
from crewstream.contracts.topics import Topics
from crewstream.embedded.owned import OwnedProcess, spawn
from support.requested import CODEC, PROJECT
from support.servers import Brokers

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(120),
    pytest.mark.asyncio(loop_scope="module"),
]

PATIENCE_S = 40.0
LONG_S = 300.0
"""Of a run that nobody waits for: it ends because it is cancelled."""


class Bench:
    """One worker, who feeds it, and the results that came so far in their order."""

    def __init__(self, topics: Topics, producer: AIOKafkaProducer, worker: OwnedProcess) -> None:
        self.topics, self.producer, self.worker = topics, producer, worker
        self.results: list[TaskFinished] = []
        self.numbers = itertools.count()

    async def assign(self, tenant: str = "acme", *, sleep_s: float = 0.0) -> TaskAssigned:
        """A new assignment, sent."""
        workflow_id = f"w{next(self.numbers)}"
        task = TaskAssigned(
            assignment_id=f"{workflow_id}/t/1",
            workflow_id=workflow_id,
            task_id="t",
            attempt=1,
            tenant_id=tenant,
            project_id=PROJECT,
            crew="echo",
            inputs=f'{{"sleep_s": {sleep_s}}}',
            assigned_at=datetime.now(UTC),
        )
        await self.send(task)
        return task

    async def send(self, task: TaskAssigned) -> None:
        await self._put(self.topics.full(topology.TASKS, PROJECT), f"{task.workflow_id}/t", task)

    async def cancel(self, task: TaskAssigned) -> TaskCancelled:
        cancelled = TaskCancelled(
            assignment_id=task.assignment_id,
            workflow_id=task.workflow_id,
            task_id=task.task_id,
            attempt=task.attempt,
            tenant_id=task.tenant_id,
            project_id=task.project_id,
            cancelled_at=datetime.now(UTC),
        )
        await self._put(self.topics.full(topology.CANCELLATIONS), task.workflow_id, cancelled)
        return cancelled

    async def _put(self, topic: str, key: str, event: Record) -> None:
        await self.producer.send_and_wait(topic, CODEC.encode(event), key=key.encode())

    def result(self, task: TaskAssigned) -> TaskFinished | None:
        found = (one for one in self.results if one.assignment_id == task.assignment_id)
        return next(found, None)

    async def ended(self, task: TaskAssigned) -> TaskFinished:
        """Its result, when it is there."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while (found := self.result(task)) is None:
                    assert self.worker.running, self.worker.last_words()
                    await asyncio.sleep(0.01)
        except TimeoutError:
            pytest.fail(f"{task.assignment_id} did not end\n{self.worker.last_words()}")
        return found

    async def follow(self, client: Client) -> None:
        name = self.topics.full(topology.RESULTS)
        async with aclosing(client.records(name, start="beginning")) as records:
            async for record in records:
                self.results.append(CODEC.decode(record.value, TaskFinished))

    @asynccontextmanager
    async def busy(self) -> AsyncIterator[None]:
        """Both slots are taken meanwhile."""
        taken = [await self.assign(sleep_s=LONG_S) for _ in range(2)]
        waiting = await self.assign()
        while await self._ends_within(1.0, waiting):
            waiting = await self.assign()
        yield
        for task in taken:
            await self.cancel(task)
        await self.ended(waiting)

    async def running(self) -> TaskAssigned:
        """A long run that has begun."""
        task = await self.assign(sleep_s=LONG_S)
        await asyncio.sleep(1.0)
        await self.ended(await self.assign())
        return task

    async def _ends_within(self, seconds: float, task: TaskAssigned) -> bool:
        await asyncio.sleep(seconds)
        return self.result(task) is not None


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench(
    kafka: Brokers, valkey: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Bench]:
    folder, prefix = tmp_path_factory.mktemp("worker"), f"t{uuid.uuid4().hex[:8]}"
    topics = Topics.load(prefix=prefix, replicas=1)
    connection = KafkaConnection(kafka.bootstrap)
    await admin.apply(await admin.plan(topics, connection), connection)
    worker = _worker(kafka.bootstrap, valkey, prefix, folder)
    async with (
        AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all") as producer,
        Client(kafka.bootstrap, prefix=prefix) as client,
    ):
        found = Bench(topics, producer, worker)
        following = asyncio.create_task(found.follow(client))
        try:
            await found.ended(await found.assign())
            yield found
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            code = worker.stop(20)
    assert code == 0


def _worker(bootstrap: str, redis_url: str, prefix: str, folder: Path) -> OwnedProcess:
    environment = {
        **os.environ,
        "CREWSTREAM_PREFIX": prefix,
        "CREWSTREAM_KAFKA_BOOTSTRAP": bootstrap,
        "CREWSTREAM_REDIS_URL": redis_url,
        "CREWSTREAM_DATA_DIR": str(folder),
        "CREWSTREAM_REPLICAS": "1",
        "CREWSTREAM_WORKER_RUNS": "echo",
        "CREWSTREAM_WORKER_RUNNERS": "1",
        "CREWSTREAM_WORKER_CONCURRENCY": "2",
        "CREWSTREAM_WORKER_GRACE_S": "1",
        "CREWSTREAM_HTTP_PORT": "0",
    }
    argv = [sys.executable, "-m", "crewstream", "worker"]
    return spawn("worker", argv, log_file=folder / "worker.log", env=environment)


async def test_a_run_that_is_cancelled_ends_at_once(bench: Bench) -> None:
    task = await bench.running()
    cancelled = await bench.cancel(task)
    found = await bench.ended(task)
    assert found.status == Outcome.CANCELLED
    assert found.failure is not None
    assert found.failure.error_type == "task.cancelled"
    assert cancelled.cancelled_at <= found.finished_at


async def test_what_is_cancelled_while_it_waits_is_not_run(bench: Bench) -> None:
    async with bench.busy():
        task, after = await bench.assign(), await bench.assign()
        await bench.cancel(task)
    await bench.ended(after)
    assert bench.result(task) is None


async def test_what_comes_after_its_cancellation_is_not_run(bench: Bench) -> None:
    running = await bench.running()
    early = running.model_copy(update={"assignment_id": "early/t/1", "workflow_id": "early"})
    await bench.cancel(early)
    await bench.cancel(running)
    await bench.ended(running)  # cancelled after it, so that one is known by now
    await bench.send(early)
    await bench.ended(await bench.assign())
    assert bench.result(early) is None


async def test_a_flood_of_one_tenant_does_not_hold_back_another(bench: Bench) -> None:
    async with bench.busy():
        flood = [await bench.assign("flood", sleep_s=0.02) for _ in range(200)]
        await bench.assign("single")
    await bench.ended(flood[-1])
    order = [one.tenant_id for one in bench.results]
    assert order.index("single") - order.index("flood") < len(flood) / 10
    assert order[-20:].count("flood") > 0, "the flood was not over before"
