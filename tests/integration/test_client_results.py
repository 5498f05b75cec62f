"""The client on a real Kafka, without a coordinator: the test says how workflows end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaProducer

from crewstream import Client
from crewstream.adapters import kafka as admin
from crewstream.contracts.codec import Codec
from crewstream.contracts.connection import KafkaConnection
from crewstream.contracts.events import WorkflowFinished, WorkflowStatus
from crewstream.contracts.schemas import Schemas
from crewstream.contracts.topics import Topics
from crewstream.errors import InvalidRequest, Unreachable

if TYPE_CHECKING:
    from support.servers import Brokers

pytestmark = pytest.mark.integration

PROJECT = "bizoholic"
Ended = Callable[[str], Awaitable[None]]
REQUEST = {"project_id": PROJECT, "tasks": [{"task_id": "a", "crew": "marketing_strategy"}]}


@pytest.fixture
async def prefix(kafka: Brokers, topic_prefix: str) -> str:
    """An installation of its own, with the topics that clients use."""
    prefix = topic_prefix.strip(".")
    topics = Topics.load(prefix=prefix, replicas=1)
    connection = KafkaConnection(kafka.bootstrap)
    await admin.apply(await admin.plan(topics, connection), connection)
    return prefix


@pytest.fixture
async def ended(kafka: Brokers, prefix: str) -> AsyncIterator[Ended]:
    """Says on the result topic, as the coordinator would, that a workflow has completed."""
    codec = Codec(Schemas.load())
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
    await producer.start()

    async def say(workflow_id: str) -> None:
        now = datetime.now(UTC)
        event = WorkflowFinished(
            workflow_id=workflow_id,
            tenant_id="t",
            project_id=PROJECT,
            status=WorkflowStatus.COMPLETED,
            requested_at=now,
            finished_at=now,
        )
        topic = f"{prefix}.{PROJECT}.workflow.results"
        await producer.send_and_wait(topic, codec.encode(event), key=workflow_id.encode())

    yield say
    await producer.stop()


@pytest.fixture
async def client(kafka: Brokers, prefix: str) -> AsyncIterator[Client]:
    # No status service: the client must do without.
    async with Client(
        kafka.bootstrap, prefix=prefix, tenant="t", status_url="http://127.0.0.1:9"
    ) as client:
        yield client


async def test_a_result_that_came_before_it_was_asked_for_is_found(
    client: Client, ended: Ended
) -> None:
    handle = await client.submit(REQUEST)
    await ended(handle.workflow_id)
    await asyncio.sleep(0.5)
    finished = await handle.result(timeout_s=10)
    assert finished.workflow_id == handle.workflow_id
    assert await handle.result(timeout_s=1) == finished


async def test_a_result_is_awaited(client: Client, ended: Ended) -> None:
    handles = [await client.submit(REQUEST) for _ in range(3)]
    waiting = [asyncio.create_task(handle.result(timeout_s=20)) for handle in handles]
    for handle in reversed(handles):
        await ended(handle.workflow_id)
    found = await asyncio.gather(*waiting)
    assert [each.workflow_id for each in found] == [handle.workflow_id for handle in handles]


async def test_a_result_that_does_not_come_times_out(client: Client) -> None:
    handle = await client.submit(REQUEST)
    with pytest.raises(TimeoutError):
        await handle.result(timeout_s=0.2)


async def test_a_workflow_that_ended_long_ago_still_has_its_result(
    client: Client, ended: Ended
) -> None:
    await ended("old")
    assert (await client.handle("old", PROJECT).result(timeout_s=10)).workflow_id == "old"


async def test_an_attached_handle_waits_for_what_has_not_ended(
    client: Client, ended: Ended
) -> None:
    waiting = asyncio.create_task(client.handle("later", PROJECT).result(timeout_s=20))
    await asyncio.sleep(1)
    await ended("later")
    assert (await waiting).workflow_id == "later"


async def test_submitting_again_what_has_ended_brings_its_result(
    client: Client, ended: Ended
) -> None:
    await ended("twice")
    handle = await client.submit({**REQUEST, "workflow_id": "twice"})
    assert (await handle.result(timeout_s=20)).workflow_id == "twice"


async def test_who_waits_hears_that_the_client_was_closed(client: Client) -> None:
    handle = await client.submit(REQUEST)
    waiting = asyncio.create_task(handle.result())
    await asyncio.sleep(0)
    await client.__aexit__(None, None, None)
    with pytest.raises(Unreachable, match="closed"):
        await waiting


async def test_a_handle_on_an_unknown_project_names_the_known_ones(client: Client) -> None:
    with pytest.raises(InvalidRequest, match="bizoholic"):
        client.handle("w", "nowhere")


async def test_results_from_the_beginning_end_with_what_is_there(
    client: Client, ended: Ended
) -> None:
    names = {f"w{n}" for n in range(30)}
    for name in names:
        await ended(name)
    found = {
        each.workflow_id async for each in client.results(PROJECT, start="beginning", follow=False)
    }
    assert found == names


async def test_results_from_now_leave_out_what_was(client: Client, ended: Ended) -> None:
    await ended("before")
    async with aclosing(client.results(PROJECT)) as results:
        first = asyncio.ensure_future(anext(results))
        for n in count():
            await ended(f"after-{n}")
            if (await asyncio.wait([first], timeout=0.2))[0]:
                break
        assert (await first).workflow_id.startswith("after-")


async def test_a_group_goes_on_after_what_it_has_done(client: Client, ended: Ended) -> None:
    for name in ("a", "b", "c"):
        await ended(name)

    async def take(how_many: int) -> list[str]:
        taken: list[str] = []
        group = client.results(PROJECT, start="beginning", group=f"g-{id(client)}", follow=False)
        async with aclosing(group) as results:
            async for each in results:
                taken.append(each.workflow_id)
                if len(taken) == how_many:
                    break
        return taken

    first = await take(2)
    # The second was taken but not done: nobody asked for the next one.
    assert set(await take(3)) == {"a", "b", "c"} - {first[0]}
