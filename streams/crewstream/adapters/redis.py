"""Status of workflows and outcomes of assignments in Redis. Sole importer of redis in streams/."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from redis import exceptions as redis_errors
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from crewstream.errors import Transient, Unreachable
from crewstream.ports import NOT_JOURNALED, Journaled
from crewstream_agents.journal import layout
from crewstream_agents.journal.away import AWAY

log = logging.getLogger(__name__)

Status = Mapping[str, object]

ANSWER_WITHIN_S = 5.0
FIRST_PAUSE_S, LAST_PAUSE_S = 0.1, 5.0
# Rows that one look into an index brings.
PAGE = 200

# One row is a hash; it is a member of one index for each word that people ask by.
PUT = """
local old = redis.call('HMGET', KEYS[1], 'version', 'words')
if old[1] and ARGV[1] ~= '' and tonumber(old[1]) >= tonumber(ARGV[1]) then return 0 end
if old[2] then
  for _, word in ipairs(cjson.decode(old[2])) do
    redis.call('ZREM', KEYS[2] .. word, ARGV[2])
  end
end
if ARGV[1] == '' then return redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], 'version', ARGV[1], 'words', ARGV[3], 'state', ARGV[5])
for _, word in ipairs(cjson.decode(ARGV[3])) do
  redis.call('ZADD', KEYS[2] .. word, ARGV[4], ARGV[2])
end
return 1
"""


def connect(url: str) -> Redis:
    """A client that answers or fails within seconds: who waits, and how long, is decided here.

    Connects at its first command. Close it with `aclose()`.
    """
    return Redis.from_url(
        url,
        socket_timeout=ANSWER_WITHIN_S,
        socket_connect_timeout=ANSWER_WITHIN_S,
        retry=Retry(NoBackoff(), 0),
    )


async def ping(client: Redis) -> str:
    """The server's name and version. Raises Unreachable."""
    try:
        about = await client.info("server")
    except (redis_errors.RedisError, OSError) as error:
        raise Unreachable(
            f"Redis does not answer ({error}); start it, or set CREWSTREAM_REDIS_URL"
        ) from error
    name = about.get("server_name", "redis")
    return f"{name} {about.get(f'{name}_version', about['redis_version'])}"


class RedisStatus:
    """The StatusStore: the latest state of each workflow, listed newest first."""

    def __init__(self, client: Redis, prefix: str) -> None:
        self._client = client
        self._row, self._index = f"{prefix}:status:row:", f"{prefix}:status:by:"
        self._filled = f"{prefix}:status:partitions"
        self._put = client.register_script(PUT)

    async def put(self, states: Sequence[tuple[str, Status | None]]) -> None:
        """Keep these states, in one pipeline; a state older than the kept one changes nothing.

        A state has `version`, `accepted_at` (ISO 8601), `project_id`, `status` and `tenant_id`.
        Raises Unreachable: none or some are kept, so put them again.
        """
        async with self._client.pipeline(transaction=False) as pipe:
            for workflow_id, state in states:
                await self._put(
                    keys=[self._row + workflow_id, self._index],
                    args=_arguments(workflow_id, state),
                    client=pipe,
                )
            await _answered(pipe.execute())

    async def get(self, workflow_id: str) -> Status | None:
        """The kept state. Raises Unreachable."""
        found = await _answered(self._client.hget(self._row + workflow_id, "state"))
        return None if found is None else _state(found)

    async def list(
        self, *, project: str = "", status: str = "", tenant: str = "", limit: int = 50
    ) -> list[Status]:
        """States of the workflows that were accepted last, newest first; "" takes any.

        Walks the smallest index that applies. Raises Unreachable.
        """
        wanted = {"project_id": project, "status": status, "tenant_id": tenant}
        wanted = {name: value for name, value in wanted.items() if value}
        index = await self._smallest([f"{name}={value}" for name, value in wanted.items()] or [""])
        found: list[Status] = []
        start = 0
        while len(found) < limit:
            ids = await _answered(self._client.zrevrange(index, start, start + PAGE - 1))
            if not ids:
                break
            found += [s for s in await self._states(ids) if wanted.items() <= s.items()]
            start += PAGE
        return found[:limit]

    async def lost(self, partitions: Collection[int]) -> Collection[int]:
        """Those of the log's partitions that were never read into here since it was empty."""
        if not partitions:
            return ()
        found = await _answered(self._client.hmget(self._filled, [str(n) for n in partitions]))
        return [number for number, since in zip(partitions, found, strict=True) if since is None]

    async def filling(self, partitions: Collection[int]) -> None:
        """From now on these partitions are being read into here, from their start."""
        now = datetime.now(UTC).isoformat()
        marks = [mark for number in partitions for mark in (str(number), now)]
        await _answered(self._client.hset(self._filled, items=marks))

    async def _smallest(self, words: Sequence[str]) -> str:
        indexes = [self._index + word for word in words]
        async with self._client.pipeline(transaction=False) as pipe:
            for index in indexes:
                pipe.zcard(index)
            sizes = await _answered(pipe.execute())
        return min(zip(sizes, indexes, strict=True))[1]

    async def _states(self, ids: Sequence[bytes]) -> Sequence[Status]:
        async with self._client.pipeline(transaction=False) as pipe:
            for workflow_id in ids:
                pipe.hget(self._row + workflow_id.decode(), "state")
            return [_state(found) for found in await _answered(pipe.execute()) if found]


class RedisOutcomes:
    """The Outcomes port: the results of finished assignments, for a week.

    All that is asked while a round trip is under way travels together in the next one. When Redis
    is away the askers wait: an outcome that cannot be read must not be paid for again.
    """

    def __init__(self, client: Redis, prefix: str) -> None:
        self._client, self._prefix = client, prefix
        self._asked: list[tuple[tuple[str | bytes | int, ...], asyncio.Future[Any]]] = []
        self._courier: asyncio.Task[None] | None = None
        self.problem: str | None = None

    async def get(self, assignment_id: str) -> bytes | None:
        """The result that this assignment was answered with. Waits while Redis is away."""
        key = layout.outcome_key(self._prefix, assignment_id)
        answer: bytes | None = await self._ask("GET", key)
        return answer

    async def put(
        self, assignment_id: str, result: bytes, journaled: Journaled = NOT_JOURNALED
    ) -> bytes:
        """Keep the result and say in its journal what it covers, at once; the first result stays.

        What is kept is returned. Waits while Redis is away. Raises Transient: another run owns the
        journal.
        """
        keys = (
            layout.outcome_key(self._prefix, assignment_id),
            layout.journal_key(self._prefix, journaled.name),
        )
        ended_ttl_ms = layout.ENDED_TTL_MS if journaled.succeeded else ""
        args = (result, layout.OUTCOME_TTL_S, journaled.epoch, journaled.covered, ended_ttl_ms)
        answer = await self._ask("EVAL", layout.END, len(keys), *keys, *args)
        if answer == -1:
            raise Transient(f"another run owns the journal {journaled.name} of {assignment_id}")
        kept: bytes = answer or result
        return kept

    def _ask(self, *command: str | bytes | int) -> asyncio.Future[Any]:
        future = asyncio.get_running_loop().create_future()
        self._asked.append((command, future))
        if self._courier is None or self._courier.done():
            self._courier = asyncio.create_task(self._carry())
        return future

    async def _carry(self) -> None:
        while self._asked:
            batch, self._asked = self._asked, []
            answers = await self._insist([command for command, _ in batch])
            for (_, future), answer in zip(batch, answers, strict=True):
                if future.done():
                    continue
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)

    async def _insist(self, commands: Sequence[tuple[str | bytes | int, ...]]) -> list[Any]:
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                answers = await self._travel(commands)
            except AWAY as error:
                self._away(error)
            else:
                self._back()
                return answers
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LAST_PAUSE_S)

    async def _travel(self, commands: Sequence[tuple[str | bytes | int, ...]]) -> list[Any]:
        async with self._client.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command)
            answers: list[Any] = await pipe.execute(raise_on_error=False)
        for answer in answers:
            if isinstance(answer, AWAY):
                raise answer
        return answers

    def _away(self, error: Exception) -> None:
        if self.problem is None:
            log.warning("Redis is away; work waits", extra={"reason": str(error)})
        self.problem = f"Redis is away: {error}"

    def _back(self) -> None:
        if self.problem is not None:
            log.warning("Redis is back")
        self.problem = None


def _arguments(workflow_id: str, state: Status | None) -> list[str]:
    if state is None:
        return ["", workflow_id]
    words = ["", *(f"{name}={state[name]}" for name in ("project_id", "status", "tenant_id"))]
    accepted = datetime.fromisoformat(str(state["accepted_at"]))
    return [
        str(state["version"]),
        workflow_id,
        json.dumps(words),
        str(accepted.timestamp()),
        json.dumps(state, separators=(",", ":")),
    ]


def _state(stored: bytes) -> Status:
    found: Status = json.loads(stored)
    return found


async def _answered(asked: Any) -> Any:
    try:
        return await asked
    except AWAY as error:
        raise Unreachable(f"Redis is away: {error}") from error
