"""All that an installation keeps in Redis, key by key: emptied, saved, brought back.

Values are read by their type, not by DUMP, whose form differs between servers and versions.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from redis import exceptions as redis_errors
from redis.asyncio import Redis

from crewstream.errors import Invalid, Unreachable

Saved = dict[str, Any]
"""`key`, `type`, `ttl_ms` (-1: for ever) and `items`, as `contracts.archive` writes them."""

PAGE = 200

# By type: what reads a key whole, and what writes it back from the same items.
_READ: Mapping[str, Sequence[str | int]] = {
    "string": ("GET",),
    "hash": ("HGETALL",),
    "list": ("LRANGE", 0, -1),
    "set": ("SMEMBERS",),
    "zset": ("ZRANGE", 0, -1, "WITHSCORES"),
}
_WRITE = {"string": "SET", "hash": "HSET", "list": "RPUSH", "set": "SADD", "zset": "ZADD"}


class RedisKeys:
    """The keys of one installation. Its methods raise Unreachable."""

    def __init__(self, client: Redis, prefix: str) -> None:
        self._client, self._all, self._status = client, f"{prefix}:", f"{prefix}:status:"

    async def empty_status(self) -> None:
        """Remove the status of every workflow; first the mark that it was ever filled."""
        async with _answers():
            await self._client.delete(f"{self._status}partitions")
            async for keys in self._pages(self._status):
                await self._client.unlink(*keys)

    async def status_versions(self) -> dict[str, int]:
        """The version of each workflow's status, by workflow_id."""
        start, found = f"{self._status}row:", dict[str, int]()
        async with _answers():
            async for keys in self._pages(start):
                versions = await self._piped(lambda key: ("HGET", key, "version"), keys)
                for key, version in zip(keys, versions, strict=True):
                    if version is not None:
                        found[key.decode().removeprefix(start)] = int(version)
        return found

    async def saved(self) -> AsyncGenerator[Sequence[Saved], None]:
        """All keys but the status, which is made from the log. Raises Invalid: an odd type."""
        async with _answers():
            async for keys in self._pages(self._all):
                kept = [key for key in keys if not key.startswith(self._status.encode())]
                yield await self._read(kept)

    async def bring_back(self, entries: Sequence[Saved]) -> int:
        """Write the keys that are not there; how many it were. What is there is newer: it stays."""
        async with _answers():
            there = await self._piped(lambda key: ("EXISTS", key), [e["key"] for e in entries])
            missing = [
                entry for entry, is_there in zip(entries, there, strict=True) if not is_there
            ]
            async with self._client.pipeline(transaction=True) as pipe:
                for entry in missing:
                    pipe.execute_command(_WRITE[entry["type"]], entry["key"], *entry["items"])
                    if entry["ttl_ms"] >= 0:
                        pipe.pexpire(entry["key"], entry["ttl_ms"])
                await pipe.execute()
        return len(missing)

    async def _read(self, keys: Sequence[bytes]) -> list[Saved]:
        types = [kind.decode() for kind in await self._piped(lambda key: ("TYPE", key), keys)]
        if odd := sorted(set(types) - {*_READ, "none"}):
            raise Invalid(f"keys of the type {', '.join(odd)} are not saved: who wrote them?")
        there = {key: kind for key, kind in zip(keys, types, strict=True) if kind != "none"}
        ttls = await self._piped(lambda key: ("PTTL", key), list(there))
        values = await self._piped(
            lambda key: (_READ[there[key]][0], key, *_READ[there[key]][1:]), list(there)
        )
        return [
            {"key": key, "type": there[key], "ttl_ms": ttl, "items": _items(there[key], value)}
            for key, ttl, value in zip(there, ttls, values, strict=True)
            if value  # else it went meanwhile
        ]

    async def _piped(
        self, command: Callable[[bytes], Sequence[str | bytes | int]], keys: Sequence[bytes]
    ) -> list[Any]:
        """The answers to one command a key, in one round trip."""
        async with self._client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.execute_command(*command(key))
            answers: list[Any] = await pipe.execute()
        return answers

    async def _pages(self, start: str) -> AsyncGenerator[list[bytes], None]:
        """The keys that begin so, some at a time; one may come twice, as SCAN has it."""
        cursor = 0
        while True:
            answer: Any = await self._client.scan(cursor, match=f"{start}*", count=PAGE)
            cursor, keys = answer
            if keys:
                yield keys
            if not cursor:
                return


def _items(kind: str, value: Any) -> list[bytes]:
    """What a key holds, flat and in the order in which its write command takes it."""
    if kind == "string":
        return [value]
    return list(_flat(kind, value))


def _flat(kind: str, value: Any) -> Iterator[bytes]:
    if kind == "hash":
        for field, held in value.items():
            yield from (field, held)
    elif kind == "zset":
        for member, score in value:
            yield from (repr(float(score)).encode(), member)
    else:
        yield from value


@asynccontextmanager
async def _answers() -> AsyncIterator[None]:
    try:
        yield
    except (redis_errors.RedisError, OSError) as error:
        raise Unreachable(f"Redis does not answer or refuses: {error}") from error
