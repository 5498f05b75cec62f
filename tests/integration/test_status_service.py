"""The way of a status: a state on the log, the projector, Redis, HTTP, the client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import aiohttp
import pytest

from crewstream import Client
from crewstream.adapters import web
from crewstream.adapters.prometheus import Metrics
from crewstream.adapters.redis import RedisStatus, connect
from crewstream.contracts.codec import Codec
from crewstream.contracts.events import TaskState, WorkflowState, WorkflowStatus
from crewstream.contracts.schemas import Schemas
from crewstream.errors import Invalid, StartFailed, Unreachable
from crewstream.processors.projector import project
from crewstream.records import Inbound

pytestmark = pytest.mark.integration

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def row(workflow_id: str) -> Inbound:
    state = WorkflowState(
        workflow_id=workflow_id,
        tenant_id="t",
        project_id="p",
        version=1,
        status=WorkflowStatus.RUNNING,
        requested_at=NOW,
        accepted_at=NOW,
        updated_at=NOW,
        tasks=(TaskState(task_id="a", project_id="p"),),
    )
    value = Codec(Schemas.load()).encode(state)
    return Inbound("state", 0, 0, workflow_id.encode(), value, (), 0)


@pytest.fixture
async def store(valkey: str, topic_prefix: str) -> AsyncIterator[RedisStatus]:
    redis = connect(valkey)
    yield RedisStatus(redis, topic_prefix)
    await redis.aclose()


@pytest.fixture
async def service(store: RedisStatus) -> AsyncIterator[str]:
    routes = web.status_routes(store)
    async with web.serve(
        "127.0.0.1", 0, lambda: web.Health(ready=True), Metrics().render, routes=routes
    ) as url:
        yield url


async def test_the_client_reads_what_the_projector_wrote(store: RedisStatus, service: str) -> None:
    await store.put(project(Codec(Schemas.load()), [row("a/b c"), row("d")]))
    client = Client(status_url=service)
    found = await client.status("a/b c")
    assert found is not None
    assert (found["workflow_id"], found["status"]) == ("a/b c", "running")
    assert await client.status("nobody") is None
    assert len(await client.list(project="p", status="running")) == 2
    assert await client.list(tenant="somebody-else") == []


async def test_a_limit_that_is_none_is_refused(service: str) -> None:
    with pytest.raises(Invalid, match="limit is a number"):
        await Client(status_url=service).list(limit=0)


async def test_a_store_that_is_away_makes_the_service_unreachable() -> None:
    redis = connect("redis://127.0.0.1:9/0")
    routes = web.status_routes(RedisStatus(redis, "x"))
    async with web.serve(
        "127.0.0.1", 0, lambda: web.Health(ready=True), Metrics().render, routes=routes
    ) as url:
        with pytest.raises(Unreachable, match="Redis is away"):
            await Client(status_url=url).status("w")


async def test_another_server_is_not_taken_for_the_status_service() -> None:
    async with web.serve("127.0.0.1", 0, lambda: web.Health(ready=True), Metrics().render) as url:
        with pytest.raises(Unreachable, match="HTTP 404"):
            await Client(status_url=url).status("w")


async def test_health_and_metrics_are_served() -> None:
    health = web.Health(ready=False, problems=("Redis is away",))
    metrics = Metrics()
    metrics.count("crewstream_dead_letters_total", 3, topic="x")
    async with (
        web.serve("127.0.0.1", 0, lambda: health, metrics.render) as url,
        aiohttp.ClientSession() as http,
    ):
        async with http.get(f"{url}/health") as answer:
            assert answer.status == 503
            assert await answer.json() == {"ready": False, "problems": ["Redis is away"]}
        async with http.get(f"{url}/metrics") as answer:
            assert 'crewstream_dead_letters_total{topic="x"} 3.0' in await answer.text()


async def test_a_port_in_use_is_a_clear_sentence(service: str) -> None:
    port = int(service.rpartition(":")[2])
    with pytest.raises(StartFailed, match=f"127.0.0.1:{port}.*CREWSTREAM_HTTP_PORT"):
        async with web.serve("127.0.0.1", port, lambda: web.Health(ready=True), Metrics().render):
            pass
