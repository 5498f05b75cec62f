"""Disasters on real servers and processes: all but Kafka is lost; Kafka is lost but a backup.

Both begin with the same installation: it has work that ended, that is under way and that waits,
a backup is taken while it runs and is asked for more, and then its processes are killed.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from crewstream import Client, config, topology
from crewstream.adapters import kafka as admin
from crewstream.adapters.redis import RedisStatus, connect
from crewstream.adapters.sender import sender
from crewstream.app.backup import take
from crewstream.app.rebuild import rebuild_status
from crewstream.config import Settings
from crewstream.contracts.connection import KafkaConnection
from crewstream.contracts.events import TaskFinished, WorkflowFinished, WorkflowState
from crewstream.contracts.topics import Topics
from crewstream.embedded.kafka import EmbeddedKafka
from crewstream.embedded.owned import OwnedProcess, spawn
from crewstream.embedded.valkey import EmbeddedValkey
from crewstream.records import Inbound, Outbound
from support.requested import CODEC, CREWS, PROJECT

if TYPE_CHECKING:
    from support.servers import Brokers

pytestmark = [
    pytest.mark.integration,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(180),
]

PATIENCE_S = 60.0
BEFORE, AFTER = 30, 12
"""Workflows that are asked for before the backup, and while it is taken until all is killed."""


@dataclass(frozen=True)
class Site:
    """One installation: its servers, and a folder for its processes."""

    bootstrap: str
    redis_url: str
    folder: Path
    prefix: str

    @property
    def topics(self) -> Topics:
        return Topics.load(prefix=self.prefix, replicas=1)

    @property
    def client(self) -> Client:
        return Client(self.bootstrap, prefix=self.prefix, tenant="acme")

    @property
    def settings(self) -> Settings:
        return config.load(
            prefix=self.prefix,
            kafka_bootstrap=self.bootstrap,
            redis_url=self.redis_url,
            replicas=1,
        )

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "CREWSTREAM_PREFIX": self.prefix,
            "CREWSTREAM_KAFKA_BOOTSTRAP": self.bootstrap,
            "CREWSTREAM_REDIS_URL": self.redis_url,
            "CREWSTREAM_DATA_DIR": str(self.folder / "data"),
            "CREWSTREAM_REPLICAS": "1",
            "CREWSTREAM_SESSION_TIMEOUT_S": "2",
            "CREWSTREAM_WORKER_RUNS": "echo",
            "CREWSTREAM_HTTP_PORT": "0",
        }

    @asynccontextmanager
    async def running(self, *names: str) -> AsyncIterator[Sequence[OwnedProcess]]:
        """Processes of ours, killed at the end."""
        processes = [
            spawn(
                name,
                [sys.executable, "-m", "crewstream", name],
                log_file=self.folder / f"{name}.log",
                env=self.environment,
            )
            for name in names
        ]
        try:
            yield processes
        finally:
            for process in processes:
                process.kill()

    async def cli(self, *words: str) -> Any:
        """What a verb says with --json; it has to succeed."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "crewstream", *words, "--json"),
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return json.loads(out)

    async def read(self, template: str) -> list[Inbound]:
        """All that is on a topic."""
        name = self.topics.full(template, PROJECT if "{project}" in template else None)
        found = self.client.records(name, start="beginning", follow=False)
        return [record async for record in found]

    async def ends(self) -> Counter[str]:
        """How often each workflow ended, by the results; none may have failed."""
        finished = [
            CODEC.decode(r.value, WorkflowFinished) for r in await self.read(topology.FINISHED)
        ]
        assert {str(each.status) for each in finished} <= {"completed"}
        return Counter(each.workflow_id for each in finished)

    async def all_end(self, count: int, processes: Sequence[OwnedProcess]) -> Counter[str]:
        """The ends of so many workflows; those that wait for a person have one then."""
        await self.until_ended({f"w{n}" for n in range(count) if not waits(n)}, processes)
        async with self.client as client:
            for number in filter(waits, range(count)):
                await client.command(f"w{number}", "approve", task_id="b")
        await self.until_ended({f"w{n}" for n in range(count)}, processes)
        await asyncio.sleep(1)  # a second end of one would come now
        return await self.ends()

    async def until_ended(self, wanted: set[str], processes: Sequence[OwnedProcess]) -> None:
        """Return when all that is wanted has an end."""
        missing: set[str] = wanted
        try:
            async with asyncio.timeout(PATIENCE_S):
                while missing := wanted - (await self.ends()).keys():
                    for process in processes:
                        assert process.running, process.last_words()
                    await asyncio.sleep(0.3)
        except TimeoutError:
            logs = [f"{p.name}:\n{p.last_words()}" for p in processes]
            pytest.fail("\n".join([f"without an end: {sorted(missing)}", *logs]))


@dataclass(frozen=True)
class Disaster:
    """What was there when everything was killed."""

    site: Site
    backup: Path


def request(number: int) -> dict[str, object]:
    """A chain of two tasks; some take long, some wait for a person."""
    inputs = {"sleep_s": 1.5 if number > BEFORE else 0.1}
    first = {"task_id": "a", "crew": "echo", "inputs": inputs}
    second = {"task_id": "b", "crew": "echo", "requires_approval": waits(number)}
    return {
        "workflow_id": f"w{number}",
        "project_id": PROJECT,
        "coordination": "sequential",
        "tasks": [first, second],
    }


def waits(number: int) -> bool:
    return number % 3 == 0


async def prepared(site: Site) -> None:
    """Its topics, and the crews that it knows."""
    connection = KafkaConnection(site.bootstrap)
    await admin.apply(await admin.plan(site.topics, connection), connection)
    name = site.topics.full(topology.CATALOGUE)
    async with sender(connection) as out:
        await out.send([Outbound(name, PROJECT.encode(), CODEC.encode(CREWS))])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def disaster(
    kafka: Brokers, valkey: str, tmp_path_factory: pytest.TempPathFactory
) -> Disaster:
    folder = tmp_path_factory.mktemp("disaster")
    site = Site(kafka.bootstrap, valkey, folder, f"d{os.getpid()}")
    await prepared(site)
    async with site.client as client, site.running("coordinator", "worker") as processes:
        for number in range(BEFORE):
            await client.submit(request(number))
        await site.until_ended({"w1", "w2", "w4"}, processes)
        taking = asyncio.create_task(take(site.settings, folder / "backup", print))
        for number in range(BEFORE, BEFORE + AFTER):
            await client.submit(request(number))
            await asyncio.sleep(0.1)
        await taking
    assert len(await site.ends()) < BEFORE  # else there is nothing to prove
    return Disaster(site, folder / "backup")


async def test_all_but_kafka_is_lost_and_every_workflow_ends_once(disaster: Disaster) -> None:
    site = disaster.site
    shutil.rmtree(site.folder / "data")
    redis = connect(site.redis_url)
    async for key in redis.scan_iter(f"{site.prefix}:*"):
        await redis.delete(key)
    async with site.running("coordinator", "worker", "projector") as processes:
        ends = await site.all_end(BEFORE + AFTER, processes)
        assert len(ends) == BEFORE + AFTER
        assert set(ends.values()) == {1}
        # What is not in the log, and what is newer than the log, must go.
        status = RedisStatus(redis, site.prefix)
        while (ghost := await status.get("w1")) is None:  # noqa: ASYNC110  (another process's)
            await asyncio.sleep(0.1)
        await status.put([("ghost", {**ghost, "workflow_id": "ghost"})])
        await status.put([("w1", {**ghost, "version": 99, "status": "running"})])
        told = await site.cli("rebuild", "status")
        assert told["by_status"] == {"completed": BEFORE + AFTER}
        await equals_the_log(site, status)
    # Nobody is there to help it.
    await status.put([("ghost", {**ghost, "workflow_id": "ghost"})])
    again = await rebuild_status(site.settings, lambda _done, _all: None)
    assert again.workflows == {"completed": BEFORE + AFTER}
    await equals_the_log(site, status)
    await redis.aclose()


async def equals_the_log(site: Site, status: RedisStatus) -> None:
    rows = [CODEC.decode(r.value, WorkflowState) for r in await site.read(topology.STATE)]
    versions: dict[str, int] = {}
    for row in rows:
        versions[row.workflow_id] = max(row.version, versions.get(row.workflow_id, 0))
    kept = await status.list(limit=1000)
    assert {str(each["workflow_id"]): each["version"] for each in kept} == versions
    assert not await status.lost([0])


async def test_kafka_and_redis_are_lost_but_a_backup_and_every_workflow_ends_once(
    disaster: Disaster, tmp_path: Path, cache_dir: Path
) -> None:
    with (
        EmbeddedKafka(tmp_path / "kafka", cache_dir=cache_dir) as broker,
        EmbeddedValkey(tmp_path / "valkey") as server,
    ):
        site = replace(disaster.site, bootstrap=broker.bootstrap, redis_url=server.url)
        # Started before there is anything: they must not see half of it.
        async with site.running("coordinator", "worker") as processes:
            await site.cli("restore", "--from", str(disaster.backup))
            ends = await site.all_end(BEFORE, processes)
        assert set(ends.values()) == {1}
        assert await site.read(topology.DEAD_LETTERS) == []
        await paid_once(site)


async def paid_once(site: Site) -> None:
    """No assignment that has a result was run again."""
    runs: dict[str, set[object]] = defaultdict(set)
    for record in await site.read(topology.RESULTS):
        result = CODEC.decode(record.value, TaskFinished)
        runs[result.assignment_id].add(result.started_at)
    assert {name for name, starts in runs.items() if len(starts) > 1} == set()
