"""How many tasks each agent has at once, over all workers: leases in Redis, which expire.

One sorted set an agent: who works (an assignment) by when its lease ends, in ms by Redis's clock.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from crewai.hooks.dispatch import HookAborted

if TYPE_CHECKING:
    from crewstream_agents.cancellation import StopFlag
    from crewstream_agents.journal.store import Redises
    from crewstream_agents.spec import CrewTask

LEASE_S: Final = 60.0
"""How long a crash keeps an agent's place taken."""

RENEW_EVERY_S: Final = 20.0

_COUNTED: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function full(key, member, limit)
  if limit == 0 then return false end
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  return not redis.call('ZSCORE', key, member) and redis.call('ZCARD', key) >= limit
end
"""

TAKE: Final = (
    _COUNTED
    + """
-- KEYS agents in the order in which they are asked  ARGV assignment, lease_ms, limit (0: none) each
-- -> number of the agent that was taken, 0 for none; then 1 for each that is full
local answer = {0}
for i, key in ipairs(KEYS) do
  local limit = tonumber(ARGV[2 + i])
  local is_full = full(key, ARGV[1], limit)
  answer[1 + i] = is_full and 1 or 0
  if answer[1] == 0 and not is_full then
    answer[1] = i
    if limit > 0 then
      redis.call('ZADD', key, now + ARGV[2], ARGV[1])
      redis.call('PEXPIRE', key, ARGV[2])
    end
  end
end
return answer
"""
)

LOOK: Final = (
    _COUNTED
    + """
-- KEYS agents  ARGV assignment, limit (0: none) each  -> 1 for each that is full
local answer = {}
for i, key in ipairs(KEYS) do
  answer[i] = full(key, ARGV[1], tonumber(ARGV[1 + i])) and 1 or 0
end
return answer
"""
)

RENEW: Final = """
-- KEYS agents  ARGV assignment, lease_ms
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _, key in ipairs(KEYS) do
  redis.call('ZADD', key, now + ARGV[2], ARGV[1])
  redis.call('PEXPIRE', key, ARGV[2])
end
return 1
"""

GIVE_BACK: Final = """
-- KEYS agents  ARGV assignment
for _, key in ipairs(KEYS) do redis.call('ZREM', key, ARGV[1]) end
return 1
"""


def agent_key(prefix: str, project_id: str, agent: str) -> str:
    """The sorted set of who works as this agent."""
    return f"{prefix}:workload:{project_id}:{agent}"


@dataclass(frozen=True, slots=True)
class Taken:
    """Which of the agents asked for was taken (None: all were full), and which were full."""

    index: int | None
    busy: frozenset[str]


@dataclass(slots=True)
class Workload:
    """The places that one run holds. Without a limit, or without Redis, nobody is ever full.

    Methods that ask block for a round trip, or for as long as Redis is away; they raise HookAborted
    in a stopped run.
    """

    task: CrewTask
    redises: Redises | None
    flag: StopFlag
    _held: set[str] = field(default_factory=set)

    def take(self, agents: Sequence[str]) -> Taken:
        """Take a place with the first of the agents that has one, unless it is held already."""
        limits, redises = self._limits(agents), self.redises
        if redises is None or not any(limits.values()):
            return Taken(0, frozenset())
        args = [self.task.assignment_id, int(LEASE_S * 1000), *limits.values()]
        number, *full = redises.ask(TAKE, self._keys(redises, agents), args, self.flag)
        busy = frozenset(a for a, is_full in zip(agents, full, strict=True) if is_full)
        if not number:
            return Taken(None, busy)
        if limits[agents[number - 1]]:
            self._held.add(agents[number - 1])
        return Taken(number - 1, busy)

    def full(self, agents: Sequence[str]) -> frozenset[str]:
        """Those of the agents that have no place left."""
        limits, redises = self._limits(agents), self.redises
        if redises is None or not any(limits.values()):
            return frozenset()
        args = [self.task.assignment_id, *limits.values()]
        full = redises.ask(LOOK, self._keys(redises, agents), args, self.flag)
        return frozenset(a for a, is_full in zip(agents, full, strict=True) if is_full)

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """What was taken stays taken in here, and is given back at the end."""
        renewing = asyncio.create_task(self._renew()) if self._held else None
        try:
            yield
        finally:
            if renewing is not None:
                renewing.cancel()
                await asyncio.to_thread(self.give_back)

    def give_back(self) -> None:
        """Let go of every place. A stopped run does not wait for Redis: its leases expire."""
        if self._held:
            self._tell(GIVE_BACK)
        self._held.clear()

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            await asyncio.to_thread(self._tell, RENEW, int(LEASE_S * 1000))

    def _tell(self, script: str, *args: int) -> None:
        if self.redises is None:
            return
        keys = self._keys(self.redises, sorted(self._held))
        with contextlib.suppress(HookAborted):
            self.redises.ask(script, keys, [self.task.assignment_id, *args], self.flag)

    def _limits(self, agents: Sequence[str]) -> Mapping[str, int]:
        return {agent: self.task.agent_limits.get(agent, 0) for agent in agents}

    def _keys(self, redises: Redises, agents: Sequence[str]) -> list[str]:
        return [agent_key(redises.prefix, self.task.project_id, agent) for agent in agents]
