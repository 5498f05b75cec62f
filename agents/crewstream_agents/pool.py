"""Runner processes: start, feed, cancel, replace. Imports no crewai."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from crewstream_agents.policy import Policy
from crewstream_agents.remote import Remote, RunnerDied
from crewstream_agents.selection import EXPLORE
from crewstream_agents.spawner import RunnerSettings, Spawner, SpawnFailed
from crewstream_agents.spec import CrewOutcome, Failure
from crewstream_agents.ticket import (
    CANCELLED,
    DIED,
    TOO_LATE,
    GaveUp,
    PoolClosed,
    PoolLimits,
    Ticket,
    Withdrawn,
    unfinished,
)
from crewstream_agents.wire import Setup

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from crewstream_agents.spec import CrewTask, JournalPlace, ModelPrice, Progress

logger = logging.getLogger(__name__)

ASSIGN: Final = "crewstream_agents.models:assign"

DEADLINE_MARGIN_S: Final = 0.5
"""A runner keeps the deadline itself and knows what was spent; it has this long to tell."""

ACCOUNT_WITHIN_S: Final = 5.0
"""For a runner to say what a run has paid for that cannot say it itself any more."""

LONGEST_PAUSE_S: Final = 5.0
"""Between two tries to start a runner, when each one dies at once."""


class RunnerPool:
    """`runners` processes with `concurrency` runs each.

    `environ` is the whole environment of the runners; `assign` names, as `module:function`, what
    gives a crew its models. `journal`: where runs keep what they have paid for, to be taken up
    after a crash; None: a run begins anew. `prices` of models replace the published ones.
    `explore` is the share of choices between agents that are made to learn; None: none is made.
    `policy` says which models and tools runs may use. `progress` is told where runs are, some times
    a second.
    """

    def __init__(
        self,
        runners: int,
        concurrency: int,
        environ: Mapping[str, str],
        *,
        limits: PoolLimits | None = None,
        assign: str = ASSIGN,
        journal: JournalPlace | None = None,
        prices: Mapping[str, ModelPrice] | None = None,
        explore: float | None = EXPLORE,
        progress: Callable[[Sequence[Progress]], object] = lambda _: None,
        policy: Policy | None = None,
    ) -> None:
        self._runners = runners
        self._concurrency = concurrency
        self._limits = limits or PoolLimits()
        settings = RunnerSettings(environ, concurrency, self._limits.heartbeat_s, assign)
        self._spawner = Spawner(settings)
        self._setup = Setup(journal, prices or {}, explore, policy or Policy())
        self._progress = progress
        self._serving: list[Remote] = []
        self._leaving: dict[Remote, float] = {}
        self._tickets: dict[str, Ticket] = {}
        self._queue: deque[asyncio.Future[None]] = deque()
        self._short = asyncio.Event()
        self._apart = asyncio.Semaphore(runners)
        self._chores: list[asyncio.Task[None]] = []
        self._followers: set[asyncio.Task[None]] = set()
        self._pause_s = 0.0
        self._closed = False

    async def start(self) -> None:
        """Start every runner. Raises SpawnFailed, with nothing left running."""
        try:
            for _ in range(self._runners):
                await self._add()
        except (SpawnFailed, RunnerDied) as error:
            await self.close(0)
            raise SpawnFailed(str(error)) from error
        self._chores = [asyncio.create_task(self._refill()), asyncio.create_task(self._watch())]

    async def run(self, task: CrewTask) -> CrewOutcome:
        """Run a task in the least loaded runner, as soon as one has a free slot.

        One whose deadline has passed is not run: its outcome has what earlier runs of it used.
        Never raises for what happens to the run: that is an outcome. Cancelling cancels the run.
        Raises PoolClosed, and ValueError when this assignment is being run already.
        """
        if task.assignment_id in self._tickets:
            raise ValueError(f"assignment {task.assignment_id} is being run already")
        ticket = Ticket(task, asyncio.current_task())
        self._tickets[task.assignment_id] = ticket
        try:
            return await self._outcome(ticket)
        finally:
            del self._tickets[task.assignment_id]
            self._wake()

    def cancel(self, assignment_id: str) -> bool:
        """Stop a run, waiting or running; False when there is none. `run` returns how it ended."""
        ticket = self._tickets.get(assignment_id)
        if ticket is None:
            return False
        ticket.cancelled = True
        if ticket.waiting is not None and not ticket.waiting.done():
            ticket.waiting.set_result(None)
        if ticket.remote is not None:
            ticket.remote.stop(assignment_id)
            loop = asyncio.get_running_loop()
            loop.call_later(self._limits.stop_grace_s, self._give_up, ticket, ticket.remote)
        return True

    async def close(self, grace_s: float) -> None:
        """Take no new run, give those under way `grace_s`, then end every runner.

        `run` of what is cut off raises PoolClosed.
        """
        self._closed = True
        callers = [t.caller for t in self._tickets.values() if t.remote and t.caller]
        self._wake()
        if callers:
            await asyncio.wait(callers, timeout=grace_s)
        for chore in self._chores:
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        for remote in (*self._serving, *self._leaving):
            remote.kill()
        await self._spawner.close()
        await asyncio.gather(*self._followers)

    @property
    def free(self) -> int:
        """Slots without a run."""
        return sum(max(0, self._concurrency - len(r.runs)) for r in self._serving)

    @property
    def pids(self) -> list[int]:
        """Process ids of the runners that take new runs."""
        return [remote.pid for remote in self._serving]

    async def _outcome(self, ticket: Ticket) -> CrewOutcome:
        if ticket.task.deadline_s <= 0:
            return await self._account(ticket, TOO_LATE)
        try:
            return await self._run(ticket)
        except (Withdrawn, GaveUp):
            return await self._account(ticket, CANCELLED)

    async def _account(self, ticket: Ticket, failure: Failure) -> CrewOutcome:
        """The end of a run that cannot tell itself; what it has paid for is in its journal."""
        task = ticket.task
        if task.journal and self._setup.journal is not None:
            with contextlib.suppress(TimeoutError, RunnerDied):
                async with asyncio.timeout(ACCOUNT_WITHIN_S):
                    return await (await self._fit(task)).account(task, failure)
        return unfinished(ticket, failure)

    async def _fit(self, task: CrewTask) -> Remote:
        """Any runner that does not hold this run, free or not."""
        while True:
            fit = [r for r in self._serving if task.assignment_id not in {*r.runs, *r.stopping}]
            if fit:
                return min(fit, key=lambda remote: len(remote.runs))
            await asyncio.sleep(self._limits.heartbeat_s / 10)

    async def _run(self, ticket: Ticket) -> CrewOutcome:
        for start in range(1, self._limits.max_starts + 1):
            try:
                if 1 < start == self._limits.max_starts:
                    return await self._alone(ticket)
                remote = await self._slot(ticket)
                return await self._attempt(ticket, remote)
            except RunnerDied:
                logger.warning("runner died under %s, start %d", ticket.task.assignment_id, start)
                if self._closed:
                    raise PoolClosed from None
        return await self._account(ticket, DIED)

    async def _alone(self, ticket: Ticket) -> CrewOutcome:
        """The last try, in a runner of its own: whoever kills runners takes nobody else along."""
        async with self._apart:
            if ticket.cancelled:
                raise Withdrawn
            try:
                remote = await self._connect()
            except (OSError, SpawnFailed) as error:
                raise RunnerDied from error
            longest_s = ticket.task.deadline_s + DEADLINE_MARGIN_S + self._limits.stop_grace_s
            self._leaving[remote] = time.monotonic() + longest_s
            return await self._attempt(ticket, remote)

    async def _attempt(self, ticket: Ticket, remote: Remote) -> CrewOutcome:
        deadline_s = ticket.task.deadline_s
        ticket.remote = remote
        try:
            async with asyncio.timeout(deadline_s + DEADLINE_MARGIN_S):
                outcome = await remote.run(ticket.task)
        except TimeoutError:
            message = f"The run did not end within its {deadline_s:g} s."
            return await self._account(ticket, Failure("task.timeout", message, retryable=True))
        self._pause_s = 0.0
        return outcome

    async def _slot(self, ticket: Ticket) -> Remote:
        """The least loaded runner with a free slot. Raises Withdrawn when the run is cancelled."""
        while not ticket.cancelled:
            if self._closed:
                raise PoolClosed
            fit = [r for r in self._serving if ticket.task.assignment_id not in r.stopping]
            least = min(fit, key=lambda remote: len(remote.runs), default=None)
            if least is not None and len(least.runs) < self._concurrency:
                return least
            ticket.waiting = asyncio.get_running_loop().create_future()
            self._queue.append(ticket.waiting)
            await ticket.waiting
        raise Withdrawn

    def _wake(self) -> None:
        """Let as many waiting runs look again as there are slots; all of them when closing."""
        for _ in range(len(self._queue) if self._closed else min(self.free, len(self._queue))):
            waiting = self._queue.popleft()
            if not waiting.done():
                waiting.set_result(None)

    def _give_up(self, ticket: Ticket, remote: Remote) -> None:
        """A run that did not obey its cancellation: its caller waits no longer."""
        ended = remote.runs.get(ticket.task.assignment_id)
        if ended is not None and not ended.done() and ticket.remote is remote:
            ended.set_exception(GaveUp())

    async def _connect(self) -> Remote:
        remote = await Remote.connect(*await self._spawner.spawn(), self._setup)
        follower = asyncio.create_task(self._follow(remote))
        self._followers.add(follower)
        follower.add_done_callback(self._followers.discard)
        return remote

    async def _add(self) -> None:
        self._serving.append(await self._connect())
        self._wake()

    async def _follow(self, remote: Remote) -> None:
        await remote.listen(self._wake, self._progress)
        self._leaving.setdefault(remote, time.monotonic())
        if remote in self._serving:
            self._serving.remove(remote)
            if not self._closed:
                logger.warning("runner %d is gone, another takes its place", remote.pid)
            self._pause_s = min(LONGEST_PAUSE_S, 2 * self._pause_s + 0.05)
        self._short.set()

    async def _refill(self) -> None:
        """Keep the number of serving runners, slower when they die as fast as they start."""
        while True:
            await self._short.wait()
            self._short.clear()
            while len(self._serving) < self._runners:
                await asyncio.sleep(self._pause_s)
                try:
                    await self._add()
                except (OSError, SpawnFailed, RunnerDied):
                    logger.exception("a runner cannot be started")
                    self._pause_s = min(LONGEST_PAUSE_S, 2 * self._pause_s + 0.05)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._limits.heartbeat_s)
            now = time.monotonic()
            for remote in [*self._serving]:
                reason = self._limits.unfit(remote, now)
                if reason:
                    logger.warning("runner %d is to be replaced: %s", remote.pid, reason)
                    self._serving.remove(remote)
                    self._leaving[remote] = now + self._limits.drain_s
                    self._short.set()
            for remote in [*self._leaving]:
                self._send_off(remote, now)

    def _send_off(self, remote: Remote, now: float) -> None:
        """End a runner that takes no more runs: by itself when it is done, else by force."""
        if not remote.gone.is_set() and not remote.runs:
            remote.leave()
            self._leaving[remote] = now + self._limits.stop_grace_s
        elif now > self._leaving[remote] or self._limits.hung(remote, now):
            remote.kill()
            if remote.gone.is_set():
                del self._leaving[remote]
