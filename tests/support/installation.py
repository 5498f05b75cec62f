"""One coordinator and one echo worker on a real Kafka, a foreign producer, and what comes out."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from aiokafka import AIOKafkaProducer

from crewstream import Client, topology
from crewstream.adapters import kafka as admin
from crewstream.contracts.connection import KafkaConnection
from crewstream.contracts.events import WorkflowFinished, WorkflowRequested, WorkflowStatus
from crewstream.contracts.topics import Topics, partition_for
from crewstream.embedded.owned import OwnedProcess, spawn
from crewstream.records import Inbound
from support.requested import CODEC, CREWS, MEGABYTE, PROJECT, request

PATIENCE_S = 30.0
PARTITIONS = Topics.load().topic("crewstream.workflow.state").partitions

# As another service's producer might set them: one twice, one without a value, one that is no text.
HEADERS = [("traceparent", b"00-a-b-01"), ("x", b"1"), ("x", b"\xff\x00"), ("nothing", None)]


def home(key: str) -> int:
    """The partition of a key."""
    return partition_for(key.encode(), PARTITIONS)


class Place(NamedTuple):
    """Where a record stands."""

    topic: str
    partition: int
    offset: int


class Installation:
    """One coordinator, one echo worker, a foreign producer, and what has come out so far."""

    def __init__(
        self,
        topics: Topics,
        connection: KafkaConnection,
        client: Client,
        producer: AIOKafkaProducer,
        processes: Sequence[OwnedProcess],
    ) -> None:
        self.topics, self.connection, self.client = topics, connection, client
        self._producer = producer
        self._processes, self._numbers = processes, itertools.count()
        self._letters: dict[Place, Inbound] = {}
        self._results: list[WorkflowFinished] = []
        self._versions: Counter[str] = Counter()

    def topic(self, template: str) -> str:
        """The topic's name in Kafka; of the project where there is one for each."""
        return self.topics.full(template, PROJECT if "{project}" in template else None)

    def name_on(self, partition: int, suffix: str = "") -> str:
        """A new workflow id that, with this behind it, is a key of that partition."""
        names = (f"w{number}" for number in self._numbers)
        return next(n for n in names if home(f"{n}{suffix}") == partition)

    async def produce(
        self,
        template: str,
        value: bytes | None,
        key: bytes | None,
        partition: int | None = None,
        *,
        timestamp_ms: int | None = None,
    ) -> Place:
        """Put a record there, with headers of its own."""
        sent = await self._producer.send_and_wait(
            self.topic(template), value, key, partition, timestamp_ms, HEADERS
        )
        return Place(sent.topic, sent.partition, sent.offset)

    async def ask(self, request: WorkflowRequested) -> Place:
        """Put a request where it belongs."""
        key = request.workflow_id.encode()
        return await self.produce(topology.REQUESTS, CODEC.encode(request), key)

    async def ended(self, workflow_id: str) -> WorkflowFinished:
        """The result of a workflow: its first."""
        await self._until(lambda: bool(self._of(workflow_id)), f"the result of {workflow_id}")
        return self._of(workflow_id)[0]

    async def rejected(self, request: WorkflowRequested) -> WorkflowFinished:
        """Ask; the only result says no, nothing is a dead letter, and the partition goes on."""
        place = await self.ask(request)
        finished = await self.ended(request.workflow_id)
        assert finished.status == WorkflowStatus.REJECTED
        # Same partition, so also the last of what came out about the request is there by now.
        await self.goes_on(place.partition)
        assert self._of(request.workflow_id) == [finished]
        assert place not in self._letters
        return finished

    async def letter(self, place: Place) -> Inbound:
        """The dead letter that a record has become."""
        await self._until(lambda: place in self._letters, f"the dead letter of {place}")
        return self._letters[place]

    async def first(self, template: str, key: bytes) -> Inbound:
        """The first record with this key on a topic, when it is there."""
        async with (
            asyncio.timeout(PATIENCE_S),
            aclosing(self.client.records(self.topic(template), start="beginning")) as records,
        ):
            return await anext(record async for record in records if record.key == key)

    async def goes_on(self, partition: int, template: str = topology.REQUESTS) -> None:
        """The next good record on that partition has its effect."""
        of_tasks, of_signals = template == topology.TASKS, template == topology.SIGNALS
        name = self.name_on(partition, "/a" if of_tasks else "")
        approval = template == topology.COMMANDS
        task = {"task_id": "a", "crew": "echo", "requires_approval": approval}
        more = {"deadline_s": 0.2, "inputs": '{"sleep_s": 1}'} if of_signals else {}
        await self.ask(request(name, tasks=[task], **more))
        if approval:
            await self._until(lambda: bool(self._versions[name]), f"the row of {name}")
            await self.client.command(name, "approve", task_id="a")
        finished = await self.ended(name)
        wanted = WorkflowStatus.FAILED if of_signals else WorkflowStatus.COMPLETED
        assert finished.status == wanted

    def results_of(self, workflow_id: str) -> int:
        """How many results of a workflow have come."""
        return len(self._of(workflow_id))

    def letters_of(self, key: bytes) -> int:
        """How many dead letters have this key."""
        return sum(letter.key == key for letter in self._letters.values())

    def _of(self, workflow_id: str) -> list[WorkflowFinished]:
        return [one for one in self._results if one.workflow_id == workflow_id]

    async def _until(self, done: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not done():
                    for process in self._processes:
                        assert process.running, f"{process.name} died:\n{process.last_words()}"
                    await asyncio.sleep(0.01)
        except TimeoutError:
            pytest.fail(f"{what} did not come within {PATIENCE_S:g} s")

    async def follow(self) -> None:
        """Keep what comes out; runs until it is cancelled."""
        async with asyncio.TaskGroup() as following:
            following.create_task(self._follow_letters())
            following.create_task(self._follow_results())
            following.create_task(self._follow_rows())

    async def _follow_letters(self) -> None:
        name = self.topic(topology.DEAD_LETTERS)
        async with aclosing(self.client.records(name, start="beginning")) as letters:
            async for letter in letters:
                told = dict(letter.headers)
                where = (told[f"x-dlq-{part}"].decode() for part in Place._fields)
                topic, partition, offset = where
                self._letters[Place(topic, int(partition), int(offset))] = letter

    async def _follow_results(self) -> None:
        async with aclosing(self.client.results(PROJECT, start="beginning")) as results:
            async for finished in results:
                self._results.append(finished)

    async def _follow_rows(self) -> None:
        name = self.topic(topology.STATE)
        async with aclosing(self.client.records(name, start="beginning")) as rows:
            async for row in rows:
                self._versions[(row.key or b"").decode()] += 1


@asynccontextmanager
async def started(bootstrap: str, redis_url: str, folder: Path) -> AsyncIterator[Installation]:
    """It runs, and has done its first workflow; both processes have to survive all that follows."""
    prefix = f"t{uuid.uuid4().hex[:8]}"
    topics, connection = Topics.load(prefix=prefix, replicas=1), KafkaConnection(bootstrap)
    await admin.apply(await admin.plan(topics, connection), connection)
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", max_request_size=20 * MEGABYTE
    )
    async with producer, Client(bootstrap, prefix=prefix, tenant="acme") as client:
        catalogue = topics.full(topology.CATALOGUE)
        await producer.send_and_wait(catalogue, CODEC.encode(CREWS), key=PROJECT.encode())
        environment = _environment(bootstrap, redis_url, prefix, folder)
        processes = [_process(name, folder, environment) for name in ("coordinator", "worker")]
        running = Installation(topics, connection, client, producer, processes)
        following = asyncio.create_task(running.follow())
        try:
            await running.goes_on(0)
            yield running
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            codes = [process.stop(20) for process in processes]
    assert codes == [0, 0]


def _environment(bootstrap: str, redis_url: str, prefix: str, folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "CREWSTREAM_PREFIX": prefix,
        "CREWSTREAM_KAFKA_BOOTSTRAP": bootstrap,
        "CREWSTREAM_REDIS_URL": redis_url,
        "CREWSTREAM_DATA_DIR": str(folder),
        "CREWSTREAM_REPLICAS": "1",
        "CREWSTREAM_WORKER_RUNS": "echo",
        "CREWSTREAM_HTTP_PORT": "0",
    }


def _process(name: str, folder: Path, environment: Mapping[str, str]) -> OwnedProcess:
    argv = [sys.executable, "-m", "crewstream", name]
    return spawn(name, argv, log_file=folder / f"{name}.log", env=environment)
