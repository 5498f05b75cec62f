"""Java reads what we write, and we read what Java writes: Apache's own Kafka and Avro classes."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from crewstream.adapters.kafka import apply
from crewstream.contracts import envelope
from crewstream.contracts.codec import Codec
from crewstream.contracts.connection import KafkaConnection
from crewstream.contracts.events import (
    Failure,
    Measured,
    Operation,
    TaskOutcome,
    TaskStatus,
    Usage,
    WorkflowFinished,
    WorkflowStatus,
)
from crewstream.contracts.partitioning import partition_for
from crewstream.contracts.schemas import Schemas
from crewstream.contracts.topic_plan import Plan
from crewstream.contracts.topics import Topic
from crewstream.embedded.jars import Jar, fetch_jars

if TYPE_CHECKING:
    from crewstream.contracts.record import Record
    from support.servers import Brokers

pytestmark = pytest.mark.integration

JAVA = Path(__file__).parent / "java"
PARTITIONS = 12
AT = datetime(2026, 7, 1, 12, 30, 0, 123456, tzinfo=UTC)
MEASURED = Measured(
    event_id="e",
    occurred_at=AT,
    tenant_id="acme",
    project_id="bizoholic",
    operation=Operation.CHAT,
    duration_ms=12.5,
    input_tokens=2**40,
    cost_usd=Decimal("-0.000000128"),
    attributes={"finish_reason": "stop — fin"},
)
FINISHED = WorkflowFinished(
    workflow_id="w",
    tenant_id="acme",
    project_id="bizoholic",
    status=WorkflowStatus.PARTIAL,
    requested_at=AT,
    finished_at=AT,
    tasks=(
        TaskOutcome(task_id="a", project_id="bizoholic", status=TaskStatus.SUCCEEDED, output="ü"),
        TaskOutcome(
            task_id="b",
            project_id="bizoholic",
            status=TaskStatus.FAILED,
            failure=Failure(error_type="llm.rate_limited", retry_after_s=1.5),
        ),
    ),
    usage=Usage(llm_calls=3, cost_usd=Decimal("123456789.987654321")),
)
KEYS = [f"workflow-{n}{'é' * (n % 5)}" for n in range(200)]


@pytest.fixture
def classpath(cache_dir: Path) -> str:
    """Kafka's jars and Avro's. Skips where there is no JDK, fails where services are required."""
    if not shutil.which("javac"):
        missing = pytest.fail if os.environ.get("REQUIRE_SERVICES") else pytest.skip
        missing("there is no JDK on this machine")
    lines = (JAVA / "jars.lock").read_text().splitlines()[1:]
    avro = tuple(Jar(path, int(size), sha256) for path, size, sha256 in map(str.split, lines))
    jars = [*fetch_jars(cache_dir), *fetch_jars(cache_dir, jars=avro)]
    return os.pathsep.join(map(str, jars))


async def test_java_and_we_understand_each_other(
    kafka: Brokers, topic_prefix: str, classpath: str, tmp_path: Path
) -> None:
    connection = KafkaConnection(bootstrap=kafka.bootstrap)
    ours, theirs = f"{topic_prefix}ours", f"{topic_prefix}theirs"
    await apply(Plan(create=[topic(ours), topic(theirs)]), connection)
    schemas = Schemas.load()
    for schema_id, released in schemas.by_id.items():
        (tmp_path / f"{schema_id}.avsc").write_text(json.dumps(released.schema))
    codec = Codec(schemas)
    sent: dict[str, Record] = {key: MEASURED if n % 2 else FINISHED for n, key in enumerate(KEYS)}
    await send(connection, ours, {key: codec.encode(event) for key, event in sent.items()})

    arguments = [kafka.bootstrap, ours, theirs, str(len(KEYS)), str(tmp_path)]
    printed = await java(classpath, arguments)

    assert (
        printed == [f"{schemas.id_of('Measured')} -0.000000128 2026-07-01T12:30:00.123456Z i"] * 100
    )
    partitions: dict[str, int] = {}
    async with AIOKafkaConsumer(
        ours, theirs, **connection.arguments(), auto_offset_reset="earliest"
    ) as consumer:
        for _ in range(2 * len(KEYS)):
            record = await asyncio.wait_for(consumer.getone(), 30)
            assert codec.decode_any(record.value) == sent[record.key.decode()]
            assert record.value == codec.encode(sent[record.key.decode()])
            assert record.partition == partition_for(record.key, PARTITIONS), record.topic
            partitions[record.topic] = partitions.get(record.topic, 0) | 1 << record.partition
    assert partitions == {ours: 2**PARTITIONS - 1, theirs: 2**PARTITIONS - 1}


def topic(name: str) -> Topic:
    return Topic(name, name, "key", None, PARTITIONS, 1, {}, "A topic of this test.")


async def send(connection: KafkaConnection, topic: str, values: dict[str, bytes]) -> None:
    headers = envelope.headers_for(
        "Any", id="i", source="s", subject="w", time=AT, tenant_id="t", correlation_id="w"
    )
    async with AIOKafkaProducer(**connection.arguments()) as producer:
        for key, value in values.items():
            await producer.send(topic, value, key.encode(), headers=headers)


async def java(classpath: str, arguments: list[str]) -> list[str]:
    """The lines that Echo prints."""
    process = await asyncio.create_subprocess_exec(
        *("java", "-cp", classpath, str(JAVA / "Echo.java"), *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), 90)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()[-2000:]
    return out.decode().splitlines()
