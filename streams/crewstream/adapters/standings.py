"""How agents stand, in Redis: written by the recorder, read by workers and people.

One hash a project: `@at` says when it was written, every other field is one kind of task of one
crew (`crew/task_type`) with the standings of its agents as JSON. It goes when nobody writes it any
more: an old record is worse than none.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from redis import exceptions as redis_errors
from redis.asyncio import Redis

from crewstream.domain.standings import Standing
from crewstream.errors import Unreachable
from crewstream_agents.spec import Candidate

TTL_S = 24 * 3600
KNOWN_FOR_S = 5.0
"""How long a worker uses what it has read."""

AT = "@at"
PAGE = 500
_AWAY = (redis_errors.RedisError, OSError)
_log = logging.getLogger(__name__)

Kinds = Mapping[str, Sequence[Standing]]


class Standings:
    """The standings of an installation's agents."""

    def __init__(
        self, client: Redis, prefix: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client, self._start, self._clock = client, f"{prefix}:standings:", clock
        self._known: dict[str, tuple[float, Kinds]] = {}

    async def publish(self, standings: Iterable[Standing], at: datetime) -> None:
        """Replace what is known of each of these projects. Raises Unreachable."""
        projects: dict[str, dict[str, list[dict[str, Any]]]] = {}
        for one in standings:
            kinds = projects.setdefault(one.project_id, {})
            kinds.setdefault(f"{one.crew}/{one.task_type}", []).append(one.row())
        try:
            async with self._client.pipeline(transaction=True) as pipe:
                for project, kinds in projects.items():
                    fields = [(kind, json.dumps(rows)) for kind, rows in kinds.items()]
                    flat = [part for field in ((AT, at.isoformat()), *fields) for part in field]
                    pipe.delete(self._start + project)
                    pipe.hset(self._start + project, items=flat)
                    pipe.expire(self._start + project, TTL_S)
                await pipe.execute()
        except _AWAY as error:
            raise Unreachable(f"Redis is away: {error}") from error

    async def of(self, project_id: str, crew: str, task_type: str) -> Mapping[str, Candidate]:
        """The candidates of a crew by `task_type/agent`, of coworkers by `/agent`.

        Of one task type, or of all for an empty one. Never raises: while Redis is away nothing is
        known, and every agent is what the prior says.
        """
        found: dict[str, Candidate] = {}
        for kind, standings in (await self._recent(project_id)).items():
            of_crew, _, of_type = kind.partition("/")
            if of_crew == crew and (not task_type or of_type in {task_type, ""}):
                found |= {f"{of_type}/{s.record.agent}": s.candidate for s in standings}
        return found

    async def show(self, project_id: str = "") -> tuple[str, Sequence[Standing]]:
        """When they were written last, and all standings of one project or of every one.

        Raises Unreachable.
        """
        keys: list[Any] = [f"{self._start}{project_id}"]
        try:
            if not project_id:
                every = self._client.scan_iter(match=f"{self._start}*", count=PAGE)
                keys = [key async for key in every]
            found: list[Any] = [await self._client.hgetall(key) for key in sorted(keys)]
        except _AWAY as error:
            raise Unreachable(f"Redis is away: {error}") from error
        times = [fields[AT.encode()].decode() for fields in found if fields]
        return max(times, default=""), [s for fields in found for s in _all(_kinds(fields))]

    async def _recent(self, project_id: str) -> Kinds:
        now = self._clock()
        read_at, kinds = self._known.get(project_id, (-KNOWN_FOR_S, {}))
        if now - read_at < KNOWN_FOR_S:
            return kinds
        try:
            found: Any = await self._client.hgetall(self._start + project_id)
            kinds = _kinds(found)
        except _AWAY as error:
            _log.warning("standings cannot be read, agents are chosen without: %s", error)
            kinds = {}
        self._known[project_id] = now, kinds
        return kinds


def _kinds(fields: Mapping[bytes, bytes]) -> Kinds:
    return {
        name.decode(): [Standing.of_row(row) for row in json.loads(rows)]
        for name, rows in fields.items()
        if name.decode() != AT
    }


def _all(kinds: Kinds) -> Sequence[Standing]:
    return [each for kind in sorted(kinds) for each in kinds[kind]]
