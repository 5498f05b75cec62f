"""Where runs are, in Redis: written by workers, added to the status that people read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

from redis.asyncio import Redis

from crewstream.errors import Unreachable
from crewstream_agents.journal.away import AWAY
from crewstream_agents.spec import Progress

Status = Mapping[str, object]

KEPT_S = 30
"""Three times as long as a run takes to tell the same again."""
EVERY_S = 0.25


class RedisProgress:
    """One short-lived key an assignment. What cannot be written is dropped: more comes soon."""

    def __init__(self, client: Redis, prefix: str) -> None:
        # Below the status: like it, it is neither saved nor brought back.
        self._client, self._key = client, f"{prefix}:status:progress:"
        self._news: dict[str, Progress] = {}
        self._courier: asyncio.Task[None] | None = None

    def tell(self, news: Iterable[Progress]) -> None:
        """Keep the last of each assignment, soon. Never waits, never raises."""
        self._news.update((each.assignment_id, each) for each in news)
        if self._courier is None or self._courier.done():
            self._courier = asyncio.create_task(self._carry())

    async def of(self, assignment_ids: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
        """What is known of these, by assignment_id. Raises Unreachable."""
        if not assignment_ids:
            return {}
        try:
            found = await self._client.mget([self._key + name for name in assignment_ids])
        except AWAY as error:
            raise Unreachable(f"Redis is away: {error}") from error
        told = zip(assignment_ids, found, strict=True)
        return {name: json.loads(value) for name, value in told if value is not None}

    async def _carry(self) -> None:
        while self._news:
            batch, self._news = self._news, {}
            try:
                async with self._client.pipeline(transaction=False) as pipe:
                    for name, each in batch.items():
                        pipe.set(self._key + name, _document(each), ex=KEPT_S)
                    await pipe.execute(raise_on_error=False)
            except AWAY:
                self._news.clear()
            await asyncio.sleep(EVERY_S)


class Store(Protocol):
    """Where the status of workflows is read."""

    async def get(self, workflow_id: str) -> Status | None: ...

    async def list(
        self, *, project: str, status: str, tenant: str, limit: int
    ) -> Sequence[Status]: ...


class LiveStatus:
    """The status of workflows; of one that is asked for by its id, with the progress of its runs.

    A task that runs has `progress`, as Progress has it, or None while nothing is known.
    """

    def __init__(self, store: Store, progress: RedisProgress) -> None:
        self._store, self._progress = store, progress

    async def get(self, workflow_id: str) -> Status | None:
        """The status of a workflow. Raises Unreachable."""
        state: Any = await self._store.get(workflow_id)
        if state is None:
            return None
        names = {
            task["task_id"]: f"{workflow_id}/{task['task_id']}/{task['attempt']}"
            for task in state["tasks"]
            if task["status"] == "assigned"
        }
        found = await self._progress.of(list(names.values()))
        tasks = [
            {**task, "progress": found.get(names[task["task_id"]])}
            if task["task_id"] in names
            else task
            for task in state["tasks"]
        ]
        return {**state, "tasks": tasks}

    async def list(self, *, project: str, status: str, tenant: str, limit: int) -> Sequence[Status]:
        """As the store does, without progress."""
        return await self._store.list(project=project, status=status, tenant=tenant, limit=limit)


def _document(progress: Progress) -> str:
    return json.dumps({**asdict(progress), "at": progress.at.isoformat()}, separators=(",", ":"))
