"""All keys of an installation on a real Redis: saved, brought back, emptied."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from crewstream.adapters.redis import RedisStatus, connect
from crewstream.adapters.redis_keys import RedisKeys, Saved
from crewstream.errors import Invalid, Unreachable

if TYPE_CHECKING:
    from redis.asyncio import Redis

pytestmark = pytest.mark.integration


@pytest.fixture
async def redis(valkey: str) -> AsyncIterator[Redis]:
    client = connect(valkey)
    yield client
    await client.aclose()


async def saved(keys: RedisKeys) -> list[Saved]:
    return [entry async for page in keys.saved() for entry in page]


async def test_every_type_comes_back_with_the_time_it_had(redis: Redis, topic_prefix: str) -> None:
    name = topic_prefix.rstrip(".")
    keys, raw = RedisKeys(redis, name), b"\x00\xff"
    await redis.set(f"{name}:string", raw, ex=100)
    await redis.hset(f"{name}:hash", mapping={raw: b"1", b"b": raw})
    await redis.rpush(f"{name}:list", b"1", raw, b"1")
    await redis.sadd(f"{name}:set", raw, b"2")
    await redis.zadd(f"{name}:zset", {raw: 1.5, b"z": -2})
    await RedisStatus(redis, name).filling([0])
    entries = await saved(keys)
    assert {entry["type"] for entry in entries} == {"string", "hash", "list", "set", "zset"}
    await redis.delete(*(entry["key"] for entry in entries))

    assert await keys.bring_back(entries) == 5
    assert await redis.get(f"{name}:string") == raw
    assert 90 < await redis.ttl(f"{name}:string") <= 100
    assert await redis.hgetall(f"{name}:hash") == {raw: b"1", b"b": raw}
    assert await redis.ttl(f"{name}:hash") == -1
    assert await redis.lrange(f"{name}:list", 0, -1) == [b"1", raw, b"1"]
    assert await redis.smembers(f"{name}:set") == {raw, b"2"}
    assert await redis.zscore(f"{name}:zset", raw) == 1.5
    assert await redis.zscore(f"{name}:zset", b"z") == -2


async def test_what_is_there_is_newer_and_stays(redis: Redis, topic_prefix: str) -> None:
    name = topic_prefix.rstrip(".")
    keys = RedisKeys(redis, name)
    await redis.hset(f"{name}:journal", mapping={b"call": b"1"})
    entries = await saved(keys)
    await redis.hset(f"{name}:journal", mapping={b"call2": b"2"})
    assert await keys.bring_back(entries) == 0
    assert await redis.hlen(f"{name}:journal") == 2


async def test_a_type_that_nobody_of_us_writes_is_named(redis: Redis, topic_prefix: str) -> None:
    name = topic_prefix.rstrip(".")
    await redis.xadd(f"{name}:stream", {b"a": b"1"})
    with pytest.raises(Invalid, match="type stream"):
        await saved(RedisKeys(redis, name))


async def test_an_emptied_status_is_lost_and_nothing_else_is(
    redis: Redis, topic_prefix: str
) -> None:
    name = topic_prefix.rstrip(".")
    keys, status = RedisKeys(redis, name), RedisStatus(redis, name)
    state = {
        "workflow_id": "w",
        "version": 4,
        "accepted_at": "2026-01-01T00:00:00Z",
        "project_id": "p",
        "status": "running",
        "tenant_id": "t",
    }
    await status.put([("w", state)])
    await status.filling([0])
    await redis.set(f"{name}:outcome:w/a/1", b"paid")
    assert await keys.status_versions() == {"w": 4}
    await keys.empty_status()
    assert await status.lost([0])
    assert await status.list() == []
    assert await keys.status_versions() == {}
    assert await redis.keys(f"{name}:*") == [f"{name}:outcome:w/a/1".encode()]


async def test_a_server_that_is_away_is_unreachable() -> None:
    redis = connect("redis://127.0.0.1:9/0")
    with pytest.raises(Unreachable, match="Redis does not answer"):
        await RedisKeys(redis, "x").empty_status()
