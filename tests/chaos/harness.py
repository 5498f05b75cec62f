"""An installation under a nemesis: real processes, load, seeded kills; counts from the topics."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

from crewstream import topology
from crewstream.adapters import kafka as admin
from crewstream.client import Client
from crewstream.contracts import envelope
from crewstream.contracts.codec import Codec
from crewstream.contracts.connection import KafkaConnection
from crewstream.contracts.events import WorkflowFinished, WorkflowState
from crewstream.contracts.schemas import Schemas
from crewstream.contracts.topics import Topics
from crewstream.domain.policy import is_ended
from crewstream.embedded.kafka import EmbeddedKafka
from crewstream.embedded.owned import OwnedProcess, spawn
from crewstream.embedded.supervisor import Service, Supervisor
from crewstream.embedded.valkey import EmbeddedValkey

SESSION_S = 2.0
PROCESSES = ("coordinator-0", "coordinator-1", "worker-0", "worker-1")
CODEC = Codec(Schemas.load())
TOPICS = Topics.load(replicas=1)


@dataclass(frozen=True, slots=True)
class Trouble:
    """What happens while the load flows: how often, and over how many seconds."""

    kills: int = 10
    freezes: int = 2
    broker_kills: int = 1
    over_s: float = 30.0


@dataclass(slots=True)
class Counts:
    """What the topics say when it is over."""

    asked: int = 0
    ended: int = 0
    completed: int = 0
    ended_twice: list[str] = field(default_factory=list)
    applied_twice: list[str] = field(default_factory=list)
    results_repeated: int = 0
    results_different: list[str] = field(default_factory=list)
    longest_pause_s: float = 0.0
    letters: int = 0


class Installation:
    """Kafka, Valkey, two coordinators and two workers, all of them under a supervisor."""

    def __init__(self, folder: Path, cache_dir: Path) -> None:
        self.folder = folder
        self.kafka = EmbeddedKafka(
            folder / "kafka",
            cache_dir=cache_dir,
            config={"group.min.session.timeout.ms": "500", "log.flush.interval.messages": "10000"},
        )
        self.valkey = EmbeddedValkey(folder / "valkey")
        self.connection = KafkaConnection(self.kafka.bootstrap)
        self.died: list[str] = []
        services = [
            Service("kafka", self.kafka.launch, self._kafka_ready, ready_within_s=90),
            Service("valkey", self.valkey.launch, self.valkey.is_ready),
            *map(self._process, PROCESSES),
        ]
        self.supervisor = Supervisor(services)

    def _kafka_ready(self) -> bool:
        if not self.kafka.is_ready():
            return False
        asyncio.run(self._apply_topics())
        return True

    async def _apply_topics(self) -> None:
        await admin.apply(await admin.plan(TOPICS, self.connection), self.connection)

    def _process(self, name: str) -> Service:
        environment = {
            **os.environ,
            "CREWSTREAM_KAFKA_BOOTSTRAP": self.kafka.bootstrap,
            "CREWSTREAM_REDIS_URL": self.valkey.url,
            "CREWSTREAM_DATA_DIR": str(self.folder / "data"),
            "CREWSTREAM_REPLICAS": "1",
            "CREWSTREAM_SESSION_TIMEOUT_S": str(SESSION_S),
            "CREWSTREAM_WORKER_RUNS": "echo",
            "CREWSTREAM_HTTP_PORT": "0",
            "CREWSTREAM_LOG_FORMAT": "json",
        }

        def launch() -> OwnedProcess:
            argv = [sys.executable, "-m", "crewstream", name.split("-", maxsplit=1)[0]]
            return spawn(name, argv, log_file=self.folder / f"{name}.log", env=environment)

        return Service(name, launch, lambda: True, after=("kafka", "valkey"))

    async def trouble(self, chance: random.Random, trouble: Trouble) -> list[str]:
        """Do it all, in an order and at times that `chance` gives; what was done when."""
        what = ["kill"] * trouble.kills + ["freeze"] * trouble.freezes
        what += ["broker"] * trouble.broker_kills
        chance.shuffle(what)
        times = sorted(chance.uniform(1.0, trouble.over_s) for _ in what)
        began, done, thawing = time.monotonic(), [], []
        for at, act in zip(times, what, strict=True):
            await asyncio.sleep(max(0.0, began + at - time.monotonic()))
            name = "kafka" if act == "broker" else chance.choice(PROCESSES)
            process = self.supervisor.processes[name]
            done.append(f"{at:5.1f} s {act} {name}")
            if act == "freeze":
                process.signal(signal.SIGSTOP)
                thawing.append(asyncio.create_task(_thaw(process)))
            elif process.running:
                process.signal(signal.SIGKILL)
        await asyncio.gather(*thawing)
        return done


async def _thaw(process: OwnedProcess) -> None:
    await asyncio.sleep(3 * SESSION_S)
    process.signal(signal.SIGCONT)


def request(number: int, chance: random.Random) -> dict[str, object]:
    """A chain of three tasks over both projects, of 0.05 to 0.3 s each, some of 2.5 s."""
    projects = ["bizoholic", "coreldove"]
    return {
        "workflow_id": f"drill-{number}",
        "tenant_id": "drill",
        "project_id": projects[number % 2],
        "coordination": "sequential",
        "tasks": [
            {
                "task_id": f"t{step}",
                "crew": "echo",
                "project_id": projects[(number + step) % 2],
                "inputs": {"sleep_s": 2.5 if chance.random() < 0.1 else chance.uniform(0.05, 0.3)},
            }
            for step in range(3)
        ],
    }


async def load(client: Client, count: int, over_s: float, chance: random.Random) -> None:
    """Submit `count` requests, evenly."""
    for number in range(count):
        await client.submit(request(number, chance))
        await asyncio.sleep(over_s / count)


async def wait_for_ends(client: Client, count: int, within_s: float) -> None:
    """Return when so many workflows have a result, or raise TimeoutError."""
    ended: set[str] = set()

    async def follow(project: str) -> None:
        async with aclosing(client.results(project, start="beginning")) as results:
            async for finished in results:
                ended.add(finished.workflow_id)

    following = [asyncio.create_task(follow(project)) for project in TOPICS.projects]
    try:
        async with asyncio.timeout(within_s):
            while len(ended) < count:
                await asyncio.sleep(0.2)
                for task in following:
                    if task.done():
                        task.result()
    finally:
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)


async def count(client: Client, asked: int) -> Counts:
    """Read the state feed, the results and the dead letters from their start, and count."""
    counts = Counts(asked=asked)
    versions: dict[str, list[int]] = defaultdict(list)
    ends: Counter[str] = Counter()
    times: list[int] = []
    async for record in client.records(
        TOPICS.full(topology.STATE), start="beginning", follow=False
    ):
        if record.value is None:
            continue
        state = CODEC.decode(record.value, WorkflowState)
        versions[state.workflow_id].append(state.version)
        ends[state.workflow_id] += is_ended(state.status)
        times.append(record.timestamp_ms)
    counts.ended = len(ends)
    counts.ended_twice = [name for name, times_ended in ends.items() if times_ended != 1]
    counts.applied_twice = [n for n, seen in versions.items() if seen != [1, 2, 3, 4]]
    times.sort()
    pauses = [after - before for before, after in itertools.pairwise(times)]
    counts.longest_pause_s = max(pauses, default=0) / 1000
    await _count_results(client, counts)
    async for _ in client.records(
        TOPICS.full(topology.DEAD_LETTERS), start="beginning", follow=False
    ):
        counts.letters += 1
    return counts


async def _count_results(client: Client, counts: Counts) -> None:
    names: dict[str, set[str]] = defaultdict(set)
    for project in TOPICS.projects:
        topic = TOPICS.full(topology.FINISHED, project)
        async for record in client.records(topic, start="beginning", follow=False):
            finished = CODEC.decode(record.value, WorkflowFinished)
            counts.results_repeated += finished.workflow_id in names
            counts.completed += finished.workflow_id not in names
            names[finished.workflow_id].add(envelope.read(record.headers).id)
    counts.results_different = [name for name, ids in names.items() if len(ids) != 1]


async def drill(
    folder: Path, cache_dir: Path, seed: int, workflows: int, trouble: Trouble
) -> tuple[Counts, Sequence[str]]:
    """One drill: start, load and trouble together, wait for the end, count."""
    chance = random.Random(seed)
    installation = Installation(folder, cache_dir)
    async with (
        installation.supervisor,
        Client(installation.kafka.bootstrap, tenant="drill") as client,
    ):
        _, done = await asyncio.gather(
            load(client, workflows, trouble.over_s, random.Random(seed + 1)),
            installation.trouble(chance, trouble),
        )
        (folder / "trouble.json").write_text(json.dumps(done))
        await wait_for_ends(client, workflows, within_s=150)
        return await count(client, workflows), done
