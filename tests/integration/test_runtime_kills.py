"""Coordinator and worker on a real Kafka, killed: nothing is lost, nothing counts twice."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Protocol

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

PARTITIONS = 4
PROGRAM = Path(__file__).with_name("runtime_process.py")
PATIENCE_S = 60.0


class Brokers(Protocol):
    """A running Kafka: the fixture of conftest.py."""

    @property
    def bootstrap(self) -> str: ...


class Bench:
    """Topics of one test, the processes on them, and a client beside."""

    def __init__(self, bootstrap: str, prefix: str, folder: Path) -> None:
        self.bootstrap, self.prefix, self.folder = bootstrap, prefix, folder
        self.processes: list[subprocess.Popen[bytes]] = []

    async def start(self) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        compact = {"cleanup.policy": "compact"}
        await admin.create_topics([
            NewTopic(self.prefix + name, PARTITIONS, 1, topic_configs=config)
            for name, config in [("events", {}), ("signals", {}), ("out", {}), ("rows", compact)]
        ])  # fmt: skip
        await admin.close()
        self.producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, acks="all")
        await self.producer.start()

    async def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        await self.producer.stop()

    def run(self, role: str) -> subprocess.Popen[bytes]:
        command = [
            sys.executable,
            str(PROGRAM),
            role,
            self.bootstrap,
            self.prefix,
            str(self.folder / "data"),
        ]
        with (self.folder / "processes.log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def end(self, process: subprocess.Popen[bytes], number: signal.Signals) -> int:
        process.send_signal(number)
        self.processes.remove(process)
        return process.wait(30)

    async def send(self, key: str, *, partition: int | None = None, **event: Any) -> None:
        await self.producer.send_and_wait(
            self.prefix + "events",
            json.dumps(event).encode(),
            key=key.encode(),
            partition=partition,
        )

    async def read(self, name: str) -> list[tuple[str, Any]]:
        """All records of a topic so far, in order within their partitions."""
        tps = [TopicPartition(self.prefix + name, number) for number in range(PARTITIONS)]
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap)
        await consumer.start()
        consumer.assign(tps)
        await consumer.seek_to_beginning()
        ends, found = await consumer.end_offsets(tps), []
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                found += [
                    (r.key.decode(), json.loads(r.value) if r.value else None) for r in records
                ]
        await consumer.stop()
        return found

    async def until(self, done: Callable[[list[Any]], bool]) -> list[Any]:
        """What was told to `out`, once it is what is awaited."""
        told: list[Any] = []
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not done(told):
                    await asyncio.sleep(0.3)
                    told = [value for _, value in await self.read("out")]
        except TimeoutError:
            log = (self.folder / "processes.log").read_text()[-4000:]
            pytest.fail(f"still waiting; told so far: {told}\n{log}")
        return told

    async def committed(self, role: str) -> int:
        """The sum of the committed offsets on `events`."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        found = await admin.list_consumer_group_offsets(self.prefix + role)
        await admin.close()
        events = self.prefix + "events"
        return sum(max(meta.offset, 0) for tp, meta in found.items() if tp.topic == events)


@pytest.fixture
async def bench(kafka: Brokers, topic_prefix: str, tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(kafka.bootstrap, topic_prefix, tmp_path)
    await bench.start()
    yield bench
    await bench.stop()


def ids(told: list[Any]) -> set[int]:
    return {value["id"] for value in told if "id" in value}


async def test_killed_coordinators_lose_nothing_and_apply_nothing_twice(bench: Bench) -> None:
    chance, events = random.Random(7), 240
    members = [bench.run("coordinator"), bench.run("coordinator")]

    async def feed() -> None:
        for number in range(events):
            await bench.send(f"key-{number % 17}", id=number)
            await asyncio.sleep(16 / events)

    feeding = asyncio.create_task(feed())
    await asyncio.sleep(6)
    for kill in range(4):
        index = kill % 2
        bench.end(members[index], chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
        if kill == 1:
            shutil.rmtree(bench.folder / "data", ignore_errors=True)  # the next start is cold
        members[index] = bench.run("coordinator")
        await asyncio.sleep(chance.uniform(2, 4))
    await feeding
    await bench.until(lambda told: len(ids(told)) == events)
    rows: dict[str, list[Any]] = {}
    for key, row in await bench.read("rows"):
        rows.setdefault(key, []).append(row)
    for key, versions in rows.items():
        assert [row["version"] for row in versions] == list(range(1, len(versions) + 1)), key
        assert versions[-1]["seen"] == sorted(versions[-1]["seen"]), key
    assert sum(len(versions) for versions in rows.values()) == events


async def test_rows_are_there_after_a_kill_warm_and_cold_and_timers_still_fire(
    bench: Bench,
) -> None:
    first = bench.run("coordinator")
    await bench.send("kept", id=1)
    await bench.send("deleted", id=2)
    await bench.send("timed", id=3, due_s=8)
    await bench.until(lambda told: len(ids(told)) == 3)
    await bench.send("deleted", id=4, delete=True)
    await bench.send("kept", id=5)
    await bench.until(lambda told: 5 in ids(told))
    bench.end(first, signal.SIGKILL)

    second = bench.run("coordinator")
    await read_both(bench, 10)
    bench.end(second, signal.SIGKILL)
    shutil.rmtree(bench.folder / "data")

    third = bench.run("coordinator")
    await read_both(bench, 20)
    await bench.until(lambda told: {"fired": "timed"} in told)
    assert bench.end(third, signal.SIGTERM) == 0


async def read_both(bench: Bench, number: int) -> None:
    await bench.send("kept", id=number, read=True)
    await bench.send("deleted", id=number + 1, read=True)
    expected = [
        {"read": number, "row": {"version": 2, "seen": [1, 5]}},
        {"read": number + 1, "row": None},
    ]
    await bench.until(lambda told: all(row in told for row in expected))


async def test_a_changelog_that_ends_without_a_record_is_recovered(bench: Bench) -> None:
    row = json.dumps({"version": 1, "seen": [1]}).encode()
    producer = AIOKafkaProducer(
        bootstrap_servers=bench.bootstrap, transactional_id=bench.prefix + "marker"
    )
    async with producer, producer.transaction():
        await producer.send_and_wait(bench.prefix + "rows", row, key=b"kept", partition=0)
    bench.run("coordinator")
    await bench.send("other", id=2)
    await bench.until(lambda told: ids(told) == {2})


async def test_a_long_run_holds_the_commit_back_and_comes_again_after_a_kill(bench: Bench) -> None:
    worker, others = bench.run("worker"), set(range(1, 41))
    await bench.send("long", partition=0, id=0, sleep_s=6)
    for number in others:
        await bench.send(f"key-{number}", partition=0, id=number)
    told = await bench.until(lambda told: ids(told) >= others)
    if 0 in ids(told):
        pytest.skip("the machine is too slow to see the long run under way")
    assert await bench.committed("worker") == 0
    bench.end(worker, signal.SIGKILL)
    bench.run("worker")
    await bench.until(lambda told: 0 in ids(told))


async def test_a_worker_that_is_told_to_stop_finishes_its_runs(bench: Bench) -> None:
    worker = bench.run("worker")
    await bench.send("warm", id=0)
    await bench.until(lambda told: ids(told) == {0})
    for number in range(1, 9):
        await bench.send(f"key-{number}", id=number, sleep_s=1.5)
    await asyncio.sleep(0.5)
    assert bench.end(worker, signal.SIGTERM) == 0
    told = await bench.until(lambda told: len(ids(told)) == 9)
    assert len(told) == 9
    assert await bench.committed("worker") == 9


async def test_what_a_stopped_worker_had_not_begun_is_done_by_the_next(bench: Bench) -> None:
    worker, events = bench.run("worker"), range(1, 49)
    await bench.send("warm", id=0)
    await bench.until(lambda told: ids(told) == {0})
    for number in events:
        await bench.send(f"key-{number}", id=number, sleep_s=2)
    await asyncio.sleep(0.5)
    assert bench.end(worker, signal.SIGTERM) == 0
    told = [value for _, value in await bench.read("out")]
    assert len(told) < len(events), "not all of them found a slot"
    bench.run("worker")
    told = await bench.until(lambda told: len(ids(told)) == len(events) + 1)
    assert len(told) == len(events) + 1, "one of them ran twice"
