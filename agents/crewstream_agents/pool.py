"""Runner processes: start, feed, cancel, replace. Imports no crewai."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter, defaultdict, deque
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from crewstream_agents.fleet import Fleet, Households
from crewstream_agents.policy import Policy
from crewstream_agents.project import PROCESS, SCOPED
from crewstream_agents.remote import Remote, RunnerDied
from crewstream_agents.scopes import memory_place
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
    PoolState,
    Ticket,
    Withdrawn,
    unfinished,
)
from crewstream_agents.wire import Setup

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from crewstream_agents.registry import Project
    from crewstream_agents.spec import CrewTask, JournalPlace, ModelPrice, Progress

logger = logging.getLogger(__name__)

ASSIGN: Final = "crewstream_agents.models:assign"

DEADLINE_MARGIN_S: Final = 0.5
"""A runner keeps the deadline itself and knows what was spent; it has this long to tell."""

ACCOUNT_WITHIN_S: Final = 5.0
"""For a runner to say what a run has paid for that cannot say it itself any more."""


class RunnerPool:
    """`runners` processes with `concurrency` runs each, until it is resized.

    `environ` is the whole environment of the runners, but for what `households` add for projects
    that declare more. `projects` say how runs of their crews are kept apart; at most `most` runs,
    as many as `runners` unless said otherwise, have a process of their own. `assign` names, as
    `module:function`, what gives a crew its models. `journal`: where runs keep what they have paid
    for, to be taken up after a crash; None: a run begins anew. `prices` of models replace the
    published ones. `memory` is the folder of all memories. `explore` is the share of choices
    between agents that are made to learn; None: none is made. `policy` says which models and tools
    runs may use. `progress` is told where runs are, some times a second.
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
        projects: Mapping[str, Project] | None = None,
        households: Households | None = None,
        most: int = 0,
        memory: str = "",
    ) -> None:
        self._concurrency = concurrency
        self._limits = limits or PoolLimits()
        self._setup = Setup(journal, prices or {}, explore, policy or Policy())
        self._projects, self._memory = projects or {}, memory
        self._households = households or Households()
        self._tickets: dict[str, Ticket] = {}
        self._queues: defaultdict[str, deque[asyncio.Future[None]]] = defaultdict(deque)
        self._apart = asyncio.Semaphore(most or runners)
        self._closed = False
        self._fleet = Fleet(
            runners,
            concurrency,
            Spawner(RunnerSettings(environ, self._limits.heartbeat_s, assign)),
            setup=self._setup,
            limits=self._limits,
            households=self._households,
            waiting=self._waiting,
            changed=self._wake,
            progress=progress,
        )

    async def start(self) -> None:
        """Start every runner. Raises SpawnFailed, with nothing left running."""
        try:
            await self._fleet.start()
        except (SpawnFailed, RunnerDied) as error:
            await self.close(0)
            raise SpawnFailed(str(error)) from error

    async def run(self, task: CrewTask) -> CrewOutcome:
        """Run a task in the least loaded runner, as soon as one has a free slot.

        One whose deadline has passed is not run: its outcome has what earlier runs of it used.
        Never raises for what happens to the run: that is an outcome. Cancelling cancels the run.
        Raises PoolClosed, and ValueError when this assignment is being run already.
        """
        if task.assignment_id in self._tickets:
            raise ValueError(f"assignment {task.assignment_id} is being run already")
        ticket = Ticket(replace(task, isolation=self._isolation(task)), asyncio.current_task())
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
        _settle(ticket.waiting)
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
        await self._fleet.close()

    def resize(self, runners: int) -> None:
        """Have so many runners from now on; those that are too many take no new run, and end."""
        self._fleet.resize(runners)

    @property
    def state(self) -> PoolState:
        """What there is and what it does, now."""
        serving = self._fleet.serving
        return PoolState(
            runners=len(serving),
            slots=self._fleet.size * self._concurrency,
            busy=sum(len(remote.runs) for remote in serving) + self._fleet.alone_now,
            waiting=sum(self._waiting().values()),
            rss_bytes=self._fleet.rss_bytes(),
        )

    @property
    def free(self) -> int:
        """Slots without a run."""
        return sum(self._free_in(remote) for remote in self._fleet.serving)

    @property
    def pids(self) -> list[int]:
        """Process ids of the runners that take new runs."""
        return [remote.pid for remote in self._fleet.serving]

    def _isolation(self, task: CrewTask) -> str:
        project = self._projects.get(task.project_id)
        return task.isolation or (project.isolation_of(task.crew) if project else "")

    def _own(self, task: CrewTask) -> tuple[str, ...]:
        """What a run that has a process of its own may write beside its folder."""
        project = self._projects.get(task.project_id)
        if project is None or project.memory != SCOPED:
            return ()
        return (memory_place(self._memory, task.tenant_id, task.project_id),)

    def _free_in(self, remote: Remote) -> int:
        return max(0, self._concurrency - len(remote.runs))

    def _waiting(self) -> Counter[str]:
        """Runs that wait for a slot, by family."""
        return Counter({family: len(queue) for family, queue in self._queues.items() if queue})

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
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ACCOUNT_WITHIN_S):
                    return await self._told(task, failure)
        return unfinished(ticket, failure)

    async def _told(self, task: CrewTask, failure: Failure) -> CrewOutcome:
        while True:
            with contextlib.suppress(RunnerDied):
                return await (await self._fit(task)).account(task, failure)

    async def _fit(self, task: CrewTask) -> Remote:
        """Any live runner that does not hold this run, free or not."""
        while True:
            alive = [remote for remote in self._fleet.serving if not remote.gone.is_set()]
            fit = [r for r in alive if task.assignment_id not in {*r.runs, *r.stopping}]
            if fit:
                return min(fit, key=lambda remote: len(remote.runs))
            await asyncio.sleep(self._limits.heartbeat_s / 10)

    async def _run(self, ticket: Ticket) -> CrewOutcome:
        alone = ticket.task.isolation == PROCESS
        for start in range(1, self._limits.max_starts + 1):
            try:
                if alone or 1 < start == self._limits.max_starts:
                    return await self._alone(ticket)
                remote = await self._slot(ticket)
                return await self._attempt(ticket, remote)
            except RunnerDied:
                logger.warning("runner died under %s, start %d", ticket.task.assignment_id, start)
                if self._closed:
                    raise PoolClosed from None
        return await self._account(ticket, DIED)

    async def _alone(self, ticket: Ticket) -> CrewOutcome:
        """In a runner of its own.

        It asked for that, or it is the last try: whoever kills runners takes nobody else along.
        """
        await self._turn(ticket)
        try:
            task = ticket.task
            longest_s = task.deadline_s + DEADLINE_MARGIN_S + self._limits.stop_grace_s
            remote = await self._fleet.alone(task.project_id, self._own(task), longest_s)
            if ticket.cancelled:
                raise Withdrawn
            return await self._attempt(ticket, remote)
        finally:
            self._apart.release()

    async def _turn(self, ticket: Ticket) -> None:
        """Wait until it may have a runner of its own. Raises Withdrawn, PoolClosed."""
        turn = asyncio.create_task(self._apart.acquire())
        ticket.waiting = asyncio.get_running_loop().create_future()
        ticket.waiting.add_done_callback(lambda _: turn.cancel())
        try:
            await turn
        except asyncio.CancelledError:
            if not ticket.waiting.done():
                raise
            raise (Withdrawn if ticket.cancelled else PoolClosed) from None

    async def _attempt(self, ticket: Ticket, remote: Remote) -> CrewOutcome:
        deadline_s = ticket.task.deadline_s
        ticket.remote = remote
        try:
            async with asyncio.timeout(deadline_s + DEADLINE_MARGIN_S):
                outcome = await remote.run(ticket.task)
        except TimeoutError:
            message = f"The run did not end within its {deadline_s:g} s."
            return await self._account(ticket, Failure("task.timeout", message, retryable=True))
        self._fleet.pause_s = 0.0
        return outcome

    async def _slot(self, ticket: Ticket) -> Remote:
        """The least loaded runner with a free slot. Raises Withdrawn when the run is cancelled."""
        family = self._households.family(ticket.task.project_id)
        while not ticket.cancelled:
            if self._closed:
                raise PoolClosed
            fit = [r for r in self._fleet.serving if r.family == family]
            fit = [r for r in fit if ticket.task.assignment_id not in r.stopping]
            least = min(fit, key=lambda remote: len(remote.runs), default=None)
            if least is not None and len(least.runs) < self._concurrency:
                return least
            ticket.waiting = asyncio.get_running_loop().create_future()
            self._queues[family].append(ticket.waiting)
            self._fleet.look()
            await ticket.waiting
        raise Withdrawn

    def _wake(self) -> None:
        """Let as many waiting runs look again as there are slots; all of them when closing."""
        free: Counter[str] = Counter()
        for remote in self._fleet.serving:
            free[remote.family] += self._free_in(remote)
        for family, queue in self._queues.items():
            for _ in range(len(queue) if self._closed else min(free[family], len(queue))):
                _settle(queue.popleft())
        if self._closed:
            for ticket in self._tickets.values():
                _settle(ticket.waiting)

    def _give_up(self, ticket: Ticket, remote: Remote) -> None:
        """A run that did not obey its cancellation: its caller waits no longer."""
        ended = remote.runs.get(ticket.task.assignment_id)
        if ended is not None and not ended.done() and ticket.remote is remote:
            ended.set_exception(GaveUp())


def _settle(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
