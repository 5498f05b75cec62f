"""What the client writes to a real Kafka."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from crewstream import Client
from crewstream.adapters import kafka as admin
from crewstream.contracts import envelope
from crewstream.contracts.codec import Codec
from crewstream.contracts.connection import KafkaConnection
from crewstream.contracts.events import Command, WorkflowCommanded, WorkflowRequested
from crewstream.contracts.schemas import Schemas
from crewstream.contracts.topics import Topics
from crewstream.errors import InvalidRequest, TooLarge, Unreachable

if TYPE_CHECKING:
    from crewstream.records import Inbound
    from support.servers import Brokers

pytestmark = pytest.mark.integration

EXAMPLES = {
    path.stem: json.loads(path.read_text("utf-8"))
    for path in (Path(__file__).parents[2] / "examples").glob("*.json")
}
TASKS = [{"task_id": "a", "crew": "marketing_strategy"}]
NOWHERE = "127.0.0.1:9"


@pytest.fixture
async def prefix(kafka: Brokers, topic_prefix: str) -> str:
    prefix = topic_prefix.strip(".")
    topics = Topics.load(prefix=prefix, replicas=1)
    connection = KafkaConnection(kafka.bootstrap)
    await admin.apply(await admin.plan(topics, connection), connection)
    return prefix


@pytest.fixture
async def client(kafka: Brokers, prefix: str) -> AsyncIterator[Client]:
    async with Client(kafka.bootstrap, prefix=prefix, tenant="acme") as client:
        yield client


async def written(client: Client, topic: str) -> list[Inbound]:
    return [each async for each in client.records(topic, start="beginning", follow=False)]


@pytest.mark.parametrize("example", sorted(EXAMPLES))
async def test_an_example_file_is_written_as_a_request(
    client: Client, prefix: str, example: str
) -> None:
    handle = await client.submit(EXAMPLES[example], traceparent="00-a-b-01")
    [record] = await written(client, f"{prefix}.bizoholic.workflow.requests")
    request = Codec(Schemas.load()).decode(record.value, WorkflowRequested)
    assert record.key == request.workflow_id.encode() == handle.workflow_id.encode()
    assert request.workflow_type == example
    assert request.tenant_id == "acme"
    told = envelope.read(record.headers)
    assert (told.type, told.tenant_id, told.subject, told.traceparent) == (
        "WorkflowRequested",
        "acme",
        handle.workflow_id,
        "00-a-b-01",
    )


async def test_a_large_request_is_taken_and_a_larger_one_refused(
    client: Client, prefix: str
) -> None:
    request = {"project_id": "bizoholic", "tasks": TASKS}
    await client.submit({**request, "inputs": {"text": "x" * 5_000_000}})
    with pytest.raises(TooLarge, match=r"bizoholic.workflow.requests takes \d+"):
        await client.submit({**request, "inputs": {"text": "x" * 9_000_000}})
    [record] = await written(client, f"{prefix}.bizoholic.workflow.requests")
    assert len(record.value or b"") > 5_000_000


async def test_a_command_is_written_with_its_id(client: Client, prefix: str) -> None:
    command_id = await client.command("w", "pause", reason="holiday", issued_by="me")
    [record] = await written(client, f"{prefix}.workflow.commands")
    command = Codec(Schemas.load()).decode(record.value, WorkflowCommanded)
    assert (record.key, command.command, command.command_id) == (b"w", Command.PAUSE, command_id)
    assert command.tenant_id == "acme"


async def test_an_unknown_project_is_refused_before_anything_is_sent(client: Client) -> None:
    with pytest.raises(InvalidRequest, match="known: bizoholic"):
        await client.submit({"project_id": "nowhere", "tasks": TASKS})


async def test_a_missing_status_service_is_named(kafka: Brokers) -> None:
    async with Client(kafka.bootstrap, status_url=f"http://{NOWHERE}") as client:
        with pytest.raises(Unreachable, match=r"crewstream projector.*CREWSTREAM_STATUS_URL"):
            await client.status("w")


async def test_a_missing_kafka_is_named() -> None:
    with pytest.raises(Unreachable, match=NOWHERE):
        async with Client(NOWHERE):
            pass
