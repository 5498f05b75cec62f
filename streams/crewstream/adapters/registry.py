"""A Confluent-compatible schema registry: foreign schemas are looked up, ours compared and put in.

The lock of ids is what counts: nothing here is needed to read or write our own events.
"""

from __future__ import annotations

import asyncio
import json
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self

import aiohttp

from crewstream.errors import Misconfigured, SchemaConflict, Unreachable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crewstream.contracts.avsc import Schema
    from crewstream.contracts.schemas import Released, Schemas
    from crewstream.contracts.topics import Topics

_TIMEOUT_S = 10.0
# An id that is not there now may be registered a moment later; poison must not ask each time.
_FORGET_ABSENCE_S = 30.0
_MEDIA = "application/vnd.schemaregistry.v1+json"


class Registry:
    """A client of a registry; an async context manager. Credentials may be in the URL."""

    def __init__(self, url: str) -> None:
        self._base = url.rstrip("/") + "/"
        self._told = url.rpartition("@")[2]  # without credentials
        self._found: dict[int, Schema] = {}
        self._absent: dict[int, float] = {}
        self._under_way: dict[int, asyncio.Task[Schema | None]] = {}

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        headers = {"Accept": _MEDIA}
        self._http = aiohttp.ClientSession(self._base, timeout=timeout, headers=headers)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in tuple(self._under_way.values()):
            task.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)
        await self._http.close()

    def schema(self, schema_id: int) -> Schema | None:
        """What is known of an id without waiting; this is the codec's `SchemaSource`.

        None: the registry had no such id in the last 30 s. Raises Unreachable when it has not
        answered yet: the question is under way, and the same event may be tried again.
        """
        if (found := self._found.get(schema_id)) is not None:
            return found
        if time.monotonic() < self._absent.get(schema_id, 0):
            return None
        self._ask(schema_id)
        raise Unreachable(f"schema id {schema_id} is being looked up at {self._told}")

    async def fetch(self, schema_id: int) -> Schema | None:
        """The schema of an id, None when there is none; simultaneous callers share one answer.

        Raises Unreachable.
        """
        try:
            return self.schema(schema_id)
        except Unreachable:
            return await asyncio.shield(self._ask(schema_id))

    async def missing(self, schemas: Schemas, topics: Topics) -> list[str]:
        """The locked subjects and versions that the registry has not.

        Raises SchemaConflict (it has one of them under another id), Unreachable, Misconfigured.
        """
        locked = _expanded(schemas, topics)
        return [
            f"{subject} version {each.version}"
            for subject, each in locked
            if not await self._has(subject, each)
        ]

    async def register(
        self, schemas: Schemas, topics: Topics, *, import_ids: bool = False
    ) -> list[str]:
        """Put in what is missing, and return it in words.

        A registry gives ids of its own; with `import_ids` it is told ours, which needs its IMPORT
        mode. Raises as `missing` does.
        """
        done = []
        for subject, each in _expanded(schemas, topics):
            if await self._has(subject, each):
                continue
            await (self._import if import_ids else self._add)(subject, each)
            done.append(f"{subject} version {each.version} as id {each.id}")
        return done

    def _ask(self, schema_id: int) -> asyncio.Task[Schema | None]:
        task = self._under_way.get(schema_id)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._look_up(schema_id))
            self._under_way[schema_id] = task
            task.add_done_callback(lambda done: self._answered(schema_id, done))
        return task

    def _answered(self, schema_id: int, task: asyncio.Task[Schema | None]) -> None:
        del self._under_way[schema_id]
        if not task.cancelled():
            task.exception()  # whoever asked has been told, or asks again

    async def _look_up(self, schema_id: int) -> Schema | None:
        status, body = await self._call("GET", f"schemas/ids/{schema_id}")
        if status == HTTPStatus.NOT_FOUND or body.get("schemaType", "AVRO") != "AVRO":
            self._absent[schema_id] = time.monotonic() + _FORGET_ABSENCE_S
            return None
        schema: Schema = json.loads(body["schema"])
        return self._found.setdefault(schema_id, schema)

    async def _has(self, subject: str, each: Released) -> bool:
        """Whether the registry has a version under our id. Raises SchemaConflict: another id."""
        status, body = await self._call("POST", f"subjects/{subject}", _body(each))
        if status == HTTPStatus.NOT_FOUND:
            return False
        self._compare(subject, each, body["id"])
        return True

    async def _add(self, subject: str, each: Released) -> None:
        _, body = await self._call("POST", f"subjects/{subject}/versions", _body(each))
        self._compare(subject, each, body["id"])

    async def _import(self, subject: str, each: Released) -> None:
        other = await self.fetch(each.id)
        if other is not None and other != each.schema:
            raise SchemaConflict(
                f"{self._told} has {other.get('name')} as id {each.id}, the lock has {each.record}"
                f" version {each.version} ({subject}); use a registry or context of our own",
            )
        await self._mode(subject, "IMPORT")
        try:
            explicit = {"id": each.id, "version": each.version}
            await self._call("POST", f"subjects/{subject}/versions", _body(each) | explicit)
        finally:
            await self._mode(subject, "READWRITE")

    async def _mode(self, subject: str, mode: str) -> None:
        await self._call("PUT", f"mode/{subject}", {"mode": mode})

    def _compare(self, subject: str, each: Released, schema_id: int) -> None:
        if schema_id != each.id:
            raise SchemaConflict(
                f"{subject}: {each.record} version {each.version} is id {each.id} in the lock, but"
                f" id {schema_id} at {self._told}; register it with explicit ids, in IMPORT mode",
            )

    async def _call(
        self, method: str, path: str, content: object = None
    ) -> tuple[int, dict[str, Any]]:
        try:
            async with self._http.request(method, path, json=content) as response:
                body: dict[str, Any] = await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise Unreachable(f"the registry at {self._told} does not answer: {error}") from error
        told = f"the registry at {self._told} says {response.status} to {method} /{path}: {body}"
        if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise Unreachable(told)
        if response.status in {HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY}:
            raise SchemaConflict(told)
        if not response.ok and response.status != HTTPStatus.NOT_FOUND:
            raise Misconfigured(told)
        return response.status, body


def _expanded(schemas: Schemas, topics: Topics) -> Iterator[tuple[str, Released]]:
    """(subject as it is in the registry, a locked version of it)."""
    for topic in topics.all():
        for each in schemas.subjects.get(f"{topic.template}-value", ()):
            yield f"{topic.name}-value", each


def _body(each: Released) -> dict[str, object]:
    return {"schema": json.dumps(each.schema)}
