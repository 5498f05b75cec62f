"""The Java producer of README.md does what it says there, on a real broker."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaConsumer

from crewstream.adapters.kafka import apply
from crewstream.contracts.codec import Codec
from crewstream.contracts.connection import KafkaConnection
from crewstream.contracts.events import Priority, WorkflowRequested
from crewstream.contracts.schemas import Schemas
from crewstream.contracts.topic_plan import Plan
from crewstream.contracts.topics import Topic
from crewstream.embedded.jars import Jar, fetch_jars

if TYPE_CHECKING:
    from support.servers import Brokers

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
JARS = Path(__file__).parent / "java" / "jars.lock"
TOPIC = "crewstream.bizoholic.workflow.requests"


@pytest.fixture
def classpath(cache_dir: Path) -> str:
    """Kafka's jars and Avro's. Skips where there is no JDK, fails where services are required."""
    if not shutil.which("javac"):
        missing = pytest.fail if os.environ.get("REQUIRE_SERVICES") else pytest.skip
        missing("there is no JDK on this machine")
    avro = [Jar(a, int(b), c) for a, b, c in map(str.split, JARS.read_text().splitlines()[1:])]
    jars = [*fetch_jars(cache_dir), *fetch_jars(cache_dir, jars=tuple(avro))]
    return os.pathsep.join(map(str, jars))


async def test_the_request_of_the_readme_arrives(
    kafka: Brokers, topic_prefix: str, classpath: str, tmp_path: Path
) -> None:
    source = re.search(r"```java\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert source is not None
    topic = topic_prefix + "requests"
    program = source[1].replace("127.0.0.1:9092", kafka.bootstrap).replace(TOPIC, topic)
    (tmp_path / "Submit.java").write_text(program)

    wanted = Topic(topic, topic, "workflow_id", None, 1, 1, {}, "A topic of this test.")
    await apply(Plan(create=[wanted]), KafkaConnection(kafka.bootstrap))
    process = await asyncio.create_subprocess_exec(
        "java", "-cp", classpath, str(tmp_path / "Submit.java"), cwd=ROOT
    )
    assert await asyncio.wait_for(process.wait(), 90) == 0

    async with AIOKafkaConsumer(
        topic, bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest"
    ) as consumer:
        record = await asyncio.wait_for(consumer.getone(), 30)
    request = Codec(Schemas.load()).decode(record.value, WorkflowRequested)
    assert record.key == request.workflow_id.encode()
    assert request.tasks[0].crew == "marketing_strategy"
    assert request.priority is Priority.NORMAL
