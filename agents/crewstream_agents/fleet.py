"""Which runner processes there are: started, watched, replaced, added and removed."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from crewstream_agents.remote import Remote, RunnerDied
from crewstream_agents.sizing import Family, to_add, to_spare
from crewstream_agents.spawner import Spawner, SpawnFailed
from crewstream_agents.spec import Progress
from crewstream_agents.ticket import PoolLimits
from crewstream_agents.wire import Setup
from crewstream_agents.zygote import Order

logger = logging.getLogger(__name__)

LONGEST_PAUSE_S: Final = 5.0
"""Between two tries to start a runner, when each one dies at once."""


@dataclass(frozen=True, slots=True)
class Households:
    """Which environment a project's runs need beside the common one.

    Projects that declare the same variables share runners. `writable` is as in Order, `shared` what
    runners may write as well that have runs of many tenants.
    """

    own: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    writable: tuple[str, ...] | None = None
    shared: tuple[str, ...] = ()

    def family(self, project_id: str) -> str:
        """The name of the environment that a project's runners have."""
        return ",".join(sorted(self.own.get(project_id, ())))

    def environ(self, family: str) -> Mapping[str, str]:
        """What the runners of a family have beside the common environment."""
        found = (has for project, has in self.own.items() if self.family(project) == family)
        return next(found, {})


class Fleet:
    """The runners of a pool. `waiting` counts the runs that wait for a slot, by family.

    `changed` is called whenever a slot may be free.
    """

    def __init__(
        self,
        size: int,
        concurrency: int,
        spawner: Spawner,
        *,
        setup: Setup,
        limits: PoolLimits,
        households: Households,
        waiting: Callable[[], Counter[str]],
        changed: Callable[[], object],
        progress: Callable[[Sequence[Progress]], object],
    ) -> None:
        self.size, self.pause_s = size, 0.0
        self.serving: list[Remote] = []
        self._concurrency, self._spawner, self._setup = concurrency, spawner, setup
        self._limits, self._households = limits, households
        self._waiting, self._changed, self._progress = waiting, changed, progress
        self._leaving: dict[Remote, float] = {}
        self._look = asyncio.Event()
        self._chores: list[asyncio.Task[None]] = []
        self._followers: set[asyncio.Task[None]] = set()
        self._closed = False

    async def start(self) -> None:
        """Start the first runners. Raises SpawnFailed, RunnerDied."""
        for _ in range(self.size):
            await self._add("")
        self._chores = [asyncio.create_task(self._refill()), asyncio.create_task(self._watch())]

    async def close(self) -> None:
        """End every runner, and what they are started from."""
        self._closed = True
        for chore in self._chores:
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        for remote in (*self.serving, *self._leaving):
            remote.kill()
        await self._spawner.close()
        await asyncio.gather(*self._followers)

    def look(self) -> None:
        """What there should be may have changed."""
        self._look.set()

    def resize(self, size: int) -> None:
        """Have so many runners: what is too much is let go of when its runs have ended."""
        self.size = size
        total = Counter(remote.family for remote in self.serving)
        for remote in sorted(self.serving, key=lambda one: len(one.runs)):
            # The last one of a family that is at work stays, or its runs would find none.
            if len(self.serving) <= size:
                break
            if total[remote.family] > 1 or not remote.runs:
                total[remote.family] -= 1
                self._let_go(remote, math.inf)
        self.look()

    async def alone(self, project_id: str, writable: tuple[str, ...], longest_s: float) -> Remote:
        """A runner for one run, which is ended after it. Raises RunnerDied."""
        family = self._households.family(project_id)
        try:
            remote = await self._connect(family, alone=True, writable=writable)
        except (OSError, SpawnFailed) as error:
            raise RunnerDied from error
        self._leaving[remote] = time.monotonic() + longest_s
        return remote

    @property
    def alone_now(self) -> int:
        """Runs in runners that take no other ones."""
        return sum(len(remote.runs) for remote in self._leaving)

    def rss_bytes(self) -> int:
        """Resident memory of all runners; what they share with each other counts for each."""
        return sum(remote.rss_bytes() for remote in (*self.serving, *self._leaving))

    async def _connect(
        self, family: str, *, alone: bool = False, writable: tuple[str, ...] = ()
    ) -> Remote:
        confined, house = self._households.writable, self._households
        order = Order(
            concurrency=1 if alone else self._concurrency,
            environ=house.environ(family),
            alone=alone,
            writable=None
            if confined is None
            else (*confined, *(writable if alone else house.shared)),
            max_file_bytes=self._limits.max_file_bytes,
        )
        remote = await Remote.connect(*await self._spawner.spawn(order), self._setup, family)
        follower = asyncio.create_task(self._follow(remote))
        self._followers.add(follower)
        follower.add_done_callback(self._followers.discard)
        return remote

    async def _add(self, family: str) -> None:
        self.serving.append(await self._connect(family))
        self._changed()

    async def _follow(self, remote: Remote) -> None:
        await remote.listen(self._changed, self._progress)
        self._leaving.setdefault(remote, time.monotonic())
        if remote in self.serving:
            self.serving.remove(remote)
            if not self._closed:
                logger.warning("runner %d is gone, another takes its place", remote.pid)
            self._slow_down()
        self.look()
        await self._spawner.clear(remote.pid)

    def _slow_down(self) -> None:
        self.pause_s = min(LONGEST_PAUSE_S, 2 * self.pause_s + 0.05)

    async def _refill(self) -> None:
        """Keep as many runners as there should be, slower when they die as fast as they start."""
        while True:
            await self._look.wait()
            self._look.clear()
            self._spare()
            while (family := to_add(self._families(), self.size)) is not None:
                await asyncio.sleep(self.pause_s)
                try:
                    await self._add(family)
                except (OSError, SpawnFailed, RunnerDied):
                    logger.exception("a runner cannot be started")
                    self._slow_down()

    def _spare(self) -> None:
        family = to_spare(self._families(), self.size)
        if family is not None:
            found = [r for r in self.serving if r.family == family and not r.runs]
            self._let_go(min(found, key=lambda remote: remote.idle_since), math.inf)

    def _families(self) -> Mapping[str, Family]:
        waiting = self._waiting()
        runners = Counter(remote.family for remote in self.serving)
        idle = Counter(remote.family for remote in self.serving if self._idle(remote, waiting))
        return {
            name: Family(runners[name], idle[name], waiting[name])
            for name in runners.keys() | waiting.keys()
        }

    def _idle(self, remote: Remote, waiting: Counter[str]) -> bool:
        """Whether a runner can go: at once for one that waits, else when it has long been idle."""
        idle_s = 0.0 if waiting else self._limits.idle_s
        return not remote.runs and time.monotonic() - remote.idle_since >= idle_s

    def _let_go(self, remote: Remote, until: float) -> None:
        self.serving.remove(remote)
        self._leaving[remote] = until

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._limits.heartbeat_s)
            now = time.monotonic()
            for remote in [*self.serving]:
                reason = self._limits.unfit(remote, now)
                if reason:
                    logger.warning("runner %d is to be replaced: %s", remote.pid, reason)
                    self._let_go(remote, now + self._limits.drain_s)
            for remote in [*self._leaving]:
                self._send_off(remote, now)
            self.look()

    def _send_off(self, remote: Remote, now: float) -> None:
        """End a runner that takes no more runs: by itself when it is done, else by force."""
        if not remote.gone.is_set() and not remote.runs:
            remote.leave()
            self._leaving[remote] = now + self._limits.stop_grace_s
        elif now > self._leaving[remote] or self._limits.hung(remote, now):
            remote.kill()
            if remote.gone.is_set():
                del self._leaving[remote]
