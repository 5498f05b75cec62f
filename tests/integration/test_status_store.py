"""Status and outcomes on a real Redis."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from crewstream.adapters.progress import KEPT_S, LiveStatus, RedisProgress
from crewstream.adapters.redis import RedisOutcomes, RedisStatus, connect, ping
from crewstream.embedded.valkey import EmbeddedValkey
from crewstream.errors import Unreachable
from crewstream.testing import MemoryOutcomes, MemoryStatus
from crewstream_agents.spec import Progress

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from crewstream.ports import Outcomes, StatusStore

pytestmark = pytest.mark.integration


def state(
    workflow_id: str,
    version: int = 1,
    *,
    minute: int = 0,
    status: str = "running",
    project: str = "p",
    tenant: str = "t",
) -> dict[str, object]:
    return {
        "workflow_id": workflow_id,
        "version": version,
        "accepted_at": f"2026-01-01T00:{minute:02}:00Z",
        "project_id": project,
        "status": status,
        "tenant_id": tenant,
    }


@pytest.fixture
async def redis(valkey: str) -> AsyncIterator[Redis]:
    client = connect(valkey)
    yield client
    await client.aclose()


async def test_progress_of_runs_stands_with_their_tasks_until_it_is_old(
    store: RedisStatus, redis: Redis, topic_prefix: str
) -> None:
    tasks = [
        {"task_id": "a", "attempt": 2, "status": "assigned"},
        {"task_id": "b", "attempt": 1, "status": "assigned"},
        {"task_id": "c", "attempt": 1, "status": "succeeded"},
    ]
    await store.put([("w", {**state("w"), "tasks": tasks})])
    progress = RedisProgress(redis, topic_prefix)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    progress.tell([Progress("w/a/2", at, agent="Clerk", step=step) for step in (1, 2)])
    progress.tell([Progress("w/a/1", at, agent="Ghost"), Progress("w/c/1", at, agent="Ghost")])
    async with asyncio.timeout(10):
        while not await progress.of(["w/a/2"]):  # noqa: ASYNC110 - it is written by itself, soon
            await asyncio.sleep(0.01)

    found: Any = await LiveStatus(store, progress).get("w")
    assert [task["task_id"] for task in found["tasks"] if task.get("progress")] == ["a"]
    assert (found["tasks"][0]["progress"]["agent"], found["tasks"][0]["progress"]["step"]) == (
        "Clerk",
        2,
    )
    assert 0 < await redis.ttl(f"{topic_prefix}:status:progress:w/a/2") <= KEPT_S
    assert await LiveStatus(store, progress).get("nobody") is None


async def test_progress_that_cannot_be_written_is_dropped_and_holds_nobody_up() -> None:
    away = connect("redis://127.0.0.1:9/0")
    progress = RedisProgress(away, "x")
    progress.tell([Progress("w/a/1", datetime(2026, 1, 1, tzinfo=UTC))])
    await asyncio.sleep(0.1)
    progress.tell([Progress("w/a/1", datetime(2026, 1, 1, tzinfo=UTC))])
    with pytest.raises(Unreachable):
        await progress.of(["w/a/1"])
    await away.aclose()


@pytest.fixture
def store(redis: Redis, topic_prefix: str) -> RedisStatus:
    return RedisStatus(redis, topic_prefix)


async def ids(store: RedisStatus, **wanted: str | int) -> list[object]:
    return [each["workflow_id"] for each in await store.list(**wanted)]  # type: ignore[arg-type]


@pytest.fixture(params=["memory", "redis"])
def any_store(request: pytest.FixtureRequest) -> StatusStore:
    """The port, real and in memory: both keep the same promises."""
    if request.param == "memory":
        return MemoryStatus()
    found: RedisStatus = request.getfixturevalue("store")
    return found


@pytest.fixture(params=["memory", "redis"])
def any_outcomes(request: pytest.FixtureRequest, topic_prefix: str) -> Outcomes:
    if request.param == "memory":
        return MemoryOutcomes()
    return RedisOutcomes(request.getfixturevalue("redis"), topic_prefix)


async def test_what_was_put_is_got(any_store: StatusStore) -> None:
    await any_store.put([("a", state("a"))])
    assert await any_store.get("a") == state("a")
    assert await any_store.get("b") is None


async def test_a_replay_never_goes_back(any_store: StatusStore) -> None:
    await any_store.put([("a", state("a", 3, status="completed"))])
    await any_store.put([("a", state("a", 1)), ("a", state("a", 2, status="failed"))])
    assert await any_store.get("a") == state("a", 3, status="completed")


async def test_after_a_tombstone_versions_start_anew(any_store: StatusStore) -> None:
    await any_store.put([("a", state("a", 5)), ("a", None), ("b", None)])
    assert await any_store.get("a") is None
    await any_store.put([("a", state("a", 1))])
    assert await any_store.get("a") == state("a", 1)


async def test_an_outcome_is_got_as_it_was_put(any_outcomes: Outcomes) -> None:
    assert await any_outcomes.get("w/a/1") is None
    await any_outcomes.put("w/a/1", b"\x00\xff")
    assert await any_outcomes.get("w/a/1") == b"\x00\xff"


async def test_a_workflow_that_changed_is_listed_where_it_is_now(store: RedisStatus) -> None:
    await store.put([("a", state("a", 1)), ("a", state("a", 2, status="completed"))])
    assert await ids(store, status="running") == []
    assert await ids(store, status="completed") == ["a"]


async def test_a_replay_leaves_the_lists_as_they_are(store: RedisStatus) -> None:
    await store.put([("a", state("a", 2)), ("a", state("a", 1, status="failed"))])
    assert await ids(store, status="failed") == []
    assert await ids(store, status="running") == ["a"]


async def test_listing_filters_and_is_newest_first(store: RedisStatus) -> None:
    await store.put(
        [
            ("a", state("a", minute=1)),
            ("b", state("b", minute=3, project="q")),
            ("c", state("c", minute=2, tenant="u", status="failed")),
        ]
    )
    assert await ids(store) == ["b", "c", "a"]
    assert await ids(store, limit=2) == ["b", "c"]
    assert await ids(store, project="p") == ["c", "a"]
    assert await ids(store, project="p", tenant="u") == ["c"]
    assert await ids(store, project="q", status="failed") == []


async def test_listing_looks_beyond_the_first_page(store: RedisStatus) -> None:
    await store.put([(f"w{n}", state(f"w{n}", project="pq"[n % 2])) for n in range(450)])
    assert len(await ids(store, project="q", tenant="t", limit=220)) == 220


async def test_a_tombstone_leaves_nothing(
    store: RedisStatus, redis: Redis, topic_prefix: str
) -> None:
    await store.put([("a", state("a", 5)), ("a", None)])
    assert await redis.keys(f"{topic_prefix}*") == []


async def test_an_emptied_store_knows_that_it_lost_what_it_had(
    store: RedisStatus, redis: Redis, topic_prefix: str
) -> None:
    assert await store.lost([0, 1]) == [0, 1]
    await store.filling([1])
    assert await store.lost([0, 1]) == [0], "another projector fills the other one"
    await store.filling([0])
    assert not await store.lost([0, 1])
    for key in await redis.keys(f"{topic_prefix}*"):
        await redis.delete(key)
    assert await store.lost([0, 1])


async def test_an_outcome_is_kept_for_a_week(redis: Redis, topic_prefix: str) -> None:
    await RedisOutcomes(redis, topic_prefix).put("w/a/1", b"paid")
    [key] = await redis.keys(f"{topic_prefix}*")
    assert 6 * 86_400 < await redis.ttl(key) <= 7 * 86_400


async def test_who_asks_while_redis_is_away_waits_until_it_is_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="crewstream")
    with EmbeddedValkey(tmp_path) as server:
        redis = connect(server.url)
        outcomes = RedisOutcomes(redis, "x")
        await outcomes.put("w/a/1", b"paid")
        await asyncio.to_thread(server.stop)
        asked = asyncio.gather(*(outcomes.get("w/a/1") for _ in range(50)))
        await asyncio.sleep(1)
        assert not asked.done()
        assert outcomes.problem
        with pytest.raises(Unreachable):
            await ping(redis)
        with pytest.raises(Unreachable):
            await RedisStatus(redis, "x").get("w")
        await asyncio.to_thread(server.start)
        assert await asyncio.wait_for(asked, 30) == [b"paid"] * 50
        assert outcomes.problem is None
        await redis.aclose()
    told = [line.message for line in caplog.records if line.name.startswith("crewstream.adapters")]
    assert told == ["Redis is away; work waits", "Redis is back"]


async def test_ping_says_what_answers(redis: Redis) -> None:
    assert (await ping(redis)).split()[0] in {"redis", "valkey"}
