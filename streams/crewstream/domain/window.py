"""Which of the queued jobs runs next: fair between tenants, urgent and begun work first in each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from crewstream.domain.backlog import Kind, Usual
from crewstream.domain.job import AGEING_S, Job, rank
from crewstream.domain.ranked import Rank, Ranked

T = TypeVar("T", bound=Hashable)


class _Flow(Generic[T]):
    """What a tenant has queued in one project."""

    __slots__ = ("parked", "ready")

    def __init__(self) -> None:
        self.ready: Ranked[T] = Ranked()
        self.parked: dict[str, Ranked[T]] = {}
        """By key: what cannot run beside the job that runs."""


@dataclass(slots=True)
class _Tenant(Generic[T]):
    """`tag` is its virtual time: the work it was given so far, divided by its weight."""

    tag: float
    flows: dict[str, _Flow[T]] = field(default_factory=dict)
    queued: int = 0
    running: int = 0


@dataclass(frozen=True, slots=True)
class _Running:
    job: Job
    charged_s: float


class Window(Generic[T]):
    """Queued and running jobs, each under an item of the caller's; pure, and no clock in it.

    Tenants take turns by start-time fair queueing (Goyal, Vin, Cheng: "Start-time Fair Queueing",
    SIGCOMM 1996): the tenant with the least virtual time is served, and its time moves on by the
    work over its weight; one that comes back from idling begins at the present virtual time, so
    that it has no claim on the past. The work of a run is guessed from its crew's last ones
    when it begins, and put right when it has ended. Add, pick, drop and done cost O(log n) and,
    for each project that has work, O(1).

    `weight` of a tenant is above 0; `most` is how many jobs of a project run at once.
    """

    def __init__(
        self,
        weight: Callable[[str], float] = lambda _: 1.0,
        most: Callable[[str], int | None] = lambda _: None,
        *,
        ageing_s: float = AGEING_S,
    ) -> None:
        self._weight, self._most, self._ageing_s = weight, most, ageing_s
        self._queued: dict[T, tuple[Job, Rank]] = {}
        self._running: dict[T, _Running] = {}
        self._keys: Counter[tuple[str, str]] = Counter()
        self._waiting: dict[tuple[str, str], set[str]] = {}
        """Tenants with jobs parked at a key."""
        self._tenants: dict[str, _Tenant[T]] = {}
        self._lines: dict[str, Ranked[str]] = {}
        """By project: the tenants that have something ready there, by tag."""
        self._resting: Ranked[str] = Ranked()
        """Tenants that have nothing here but a tag that still counts."""
        self._busy: Counter[str] = Counter()
        self.usual = Usual()
        self._virtual = 0.0

    @property
    def queued(self) -> int:
        """How many jobs wait."""
        return len(self._queued)

    @property
    def running(self) -> int:
        """How many jobs were picked and are not done."""
        return len(self._running)

    def queued_by_project(self) -> Counter[str]:
        """How many jobs of each project wait."""
        return Counter(job.project_id for job, _ in self._queued.values())

    def runnable(self) -> Counter[Kind]:
        """How many jobs would run if there were room: of a key one, and none where one runs."""
        free = {(job.project_id, job.key): job for job, _ in self._queued.values()}
        for where in self._keys.keys() & free.keys():
            del free[where]
        return Counter((job.project_id, job.crew) for job in free.values())

    def add(self, item: T, job: Job) -> None:
        """Queue a job; its item is neither queued nor running."""
        self._queued[item] = job, rank(job, self._ageing_s)
        tenant = self._tenants.get(job.tenant_id)
        if tenant is None:
            tenant = self._tenants[job.tenant_id] = _Tenant(self._virtual)
        self._resting.drop(job.tenant_id)
        if not tenant.queued:
            tenant.tag = max(tenant.tag, self._virtual)
        tenant.queued += 1
        flow = tenant.flows.setdefault(job.project_id, _Flow())
        if self._keys[job.project_id, job.key]:
            self._park(flow, item)
        else:
            self._make_ready(flow, item)

    def pick(self) -> T | None:
        """The job to run now, which runs from here on; None: none of the queued ones can."""
        while (name := self._next_tenant()) is not None:
            if (item := self._best_of(name)) is not None:
                return self._begin(item)
        return None

    def done(self, item: T, ran_s: float) -> None:
        """A picked job has ended, after so many seconds."""
        found = self._running.pop(item)
        job, tenant = found.job, self._tenants[found.job.tenant_id]
        tenant.running -= 1
        tenant.tag += (ran_s - found.charged_s) / self._weight(job.tenant_id)
        self._busy[job.project_id] -= 1
        self.usual.seen(job.project_id, job.crew, ran_s)
        self._release(job)
        self._line_up(job.tenant_id)
        self._settle(job.tenant_id)

    def drop(self, item: T) -> bool:
        """Forget a queued job; whether there was one."""
        found = self._queued.pop(item, None)
        if found is None:
            return False
        job, _ = found
        tenant = self._tenants[job.tenant_id]
        tenant.queued -= 1
        flow = tenant.flows[job.project_id]
        if flow.ready.drop(item):
            # Another of its key may be parked behind it, with nobody left to wake it.
            self._unpark(job, job.tenant_id)
        else:
            flow.parked[job.key].drop(item)
            self._unless_parked(job, job.tenant_id)
        self._line_up(job.tenant_id)
        self._settle(job.tenant_id)
        return True

    # -- the choice ---------------------------------------------------------------------------

    def _next_tenant(self) -> str | None:
        """The tenant of the least tag among those that have something ready where there is room."""
        firsts = [
            first
            for project, line in self._lines.items()
            if self._has_room(project) and (first := line.first()) is not None
        ]
        return min(firsts)[1] if firsts else None

    def _has_room(self, project: str) -> bool:
        most = self._most(project)
        return most is None or self._busy[project] < most

    def _best_of(self, name: str) -> T | None:
        """The tenant's first job of those that can run; where none can it leaves the line."""
        best: tuple[Rank, T] | None = None
        for project, flow in self._tenants[name].flows.items():
            if not self._has_room(project):
                continue
            found = self._runnable(flow)
            if found is None:
                self._lines[project].drop(name)
            elif best is None or found[0] < best[0]:
                best = found
        return best[1] if best else None

    def _runnable(self, flow: _Flow[T]) -> tuple[Rank, T] | None:
        """The first job that is ready; those are parked before it whose key runs already."""
        while (found := flow.ready.first()) is not None:
            job, _ = self._queued[found[1]]
            if not self._keys[job.project_id, job.key]:
                return found
            flow.ready.drop(found[1])
            self._park(flow, found[1])
        return None

    def _begin(self, item: T) -> T:
        job, _ = self._queued.pop(item)
        tenant = self._tenants[job.tenant_id]
        tenant.flows[job.project_id].ready.drop(item)
        tenant.queued, tenant.running = tenant.queued - 1, tenant.running + 1
        charged_s = self.usual.of(job.project_id, job.crew)
        self._virtual = max(self._virtual, tenant.tag)
        tenant.tag = self._virtual + charged_s / self._weight(job.tenant_id)
        self._running[item] = _Running(job, charged_s)
        self._keys[job.project_id, job.key] += 1
        self._busy[job.project_id] += 1
        self._line_up(job.tenant_id)
        return item

    # -- who waits where ----------------------------------------------------------------------

    def _make_ready(self, flow: _Flow[T], item: T) -> None:
        job, rank = self._queued[item]
        flow.ready.put(item, rank)
        line = self._lines.setdefault(job.project_id, Ranked())
        line.put(job.tenant_id, (self._tenants[job.tenant_id].tag,))

    def _line_up(self, name: str) -> None:
        """Put the tenant where its tag says, in every project where it has something ready."""
        tenant = self._tenants[name]
        for project, flow in tenant.flows.items():
            if flow.ready:
                self._lines[project].put(name, (tenant.tag,))
            elif project in self._lines:
                self._lines[project].drop(name)

    def _park(self, flow: _Flow[T], item: T) -> None:
        job, rank = self._queued[item]
        flow.parked.setdefault(job.key, Ranked()).put(item, rank)
        self._waiting.setdefault((job.project_id, job.key), set()).add(job.tenant_id)

    def _release(self, job: Job) -> None:
        """A key is free: one job of each tenant that waits for it may be chosen."""
        where = job.project_id, job.key
        del self._keys[where]
        for name in sorted(self._waiting.get(where, ())):
            self._unpark(job, name)

    def _unpark(self, job: Job, name: str) -> None:
        """Make the tenant's first job ready that is parked at the key of `job`."""
        flow = self._tenants[name].flows[job.project_id]
        if job.key not in flow.parked:
            return
        if (found := flow.parked[job.key].pop()) is not None:
            self._make_ready(flow, found[1])
        self._unless_parked(job, name)

    def _unless_parked(self, job: Job, name: str) -> None:
        """The tenant does not wait for the key of `job` any more, unless it has more of it."""
        flow, where = self._tenants[name].flows[job.project_id], (job.project_id, job.key)
        if not flow.parked[job.key]:
            del flow.parked[job.key]
            self._waiting[where].discard(name)
            if not self._waiting[where]:
                del self._waiting[where]

    def _settle(self, name: str) -> None:
        """Let tenants go that have nothing here and no claim that a newcomer would not have."""
        tenant = self._tenants[name]
        if not tenant.queued and not tenant.running:
            self._resting.put(name, (tenant.tag,))
        while (first := self._resting.first()) is not None and (
            first[0][0] <= self._virtual or not (self._queued or self._running)
        ):
            self._resting.pop()
            del self._tenants[first[1]]
        if not (self._queued or self._running):
            self._lines.clear()
            self._virtual = 0.0
