"""The runners of a worker, as its settings, limits and projects have them."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from crewstream import config
from crewstream.app.resources import Queue, Resources, Telling
from crewstream.config import Settings
from crewstream.contracts.limits import Limits
from crewstream.meters import Meter
from crewstream_agents import registry
from crewstream_agents.confinement import hide
from crewstream_agents.endpoints import key_names, problems
from crewstream_agents.environment import share_out
from crewstream_agents.fleet import Households
from crewstream_agents.machine import Machine
from crewstream_agents.policy import Policy
from crewstream_agents.pool import RunnerPool
from crewstream_agents.project import PROCESS, SCOPED, Project
from crewstream_agents.scopes import MEMORY_SETTING
from crewstream_agents.sizing import Bounds
from crewstream_agents.spec import JournalPlace, ModelPrice, Progress
from crewstream_agents.ticket import PoolLimits

MEBIBYTE = 1024 * 1024
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Started:
    """A pool that runs, and the bounds of its size."""

    runs: RunnerPool
    bounds: Bounds
    machine: Machine
    apart: Collection[str]
    """Projects with runs that have a process of their own."""

    def at_once(self, project_id: str) -> int | None:
        """How many runs of a project there may be at once; None: as many as there are slots.

        Without it, runs that wait for a process would hold the slots of all others.
        """
        return self.bounds.most if project_id in self.apart else None

    def watched(
        self, queue: Queue, meter: Meter, telling: Telling
    ) -> AbstractAsyncContextManager[None]:
        """Have the size of the pool follow the queue and the machine in here."""
        watch = Resources(
            self.runs, self.bounds, self.machine, queue=queue, meter=meter, telling=telling
        )
        return watch.watching()


@asynccontextmanager
async def started(
    settings: Settings,
    limits: Limits,
    policy: Policy,
    progress: Callable[[Sequence[Progress]], object],
) -> AsyncIterator[Started]:
    """Runners, until the end of the context."""
    hide()
    machine, projects = Machine(), registry.projects(settings.projects)
    least, most = settings.runners(machine.cores)
    memory = str(settings.memory_dir or settings.data_dir / "memory")
    environments = share_out(
        config.for_crews(),
        {name: project.environment for name, project in projects.items()},
        [*settings.shown_to_crews, *key_names(policy.models)],
    )
    for problem in problems(policy.models, environments.common):
        _log.warning("runs that need this model will fail: %s", problem)
    pool = RunnerPool(
        least,
        settings.worker_concurrency,
        {
            **environments.common,
            "CREWSTREAM_EXECUTOR": settings.executor,
            "CREWSTREAM_PROJECTS": str(settings.projects),
            MEMORY_SETTING: memory,
        },
        limits=PoolLimits(
            max_rss_bytes=settings.runner_memory_mib * MEBIBYTE,
            max_file_bytes=settings.runner_file_mib * MEBIBYTE,
        ),
        journal=JournalPlace(settings.redis_url.get_secret_value(), settings.prefix),
        prices={name: ModelPrice(**dict(price)) for name, price in limits.prices.items()},
        explore=settings.selection_explore if settings.selection == "record" else None,
        policy=policy,
        progress=progress,
        projects=projects,
        households=_households(settings, projects, environments.own, memory),
        most=most,
        memory=memory,
    )
    bounds = Bounds(
        least,
        most,
        settings.worker_concurrency,
        settings.worker_max_cpu,
        settings.worker_max_memory,
    )
    await pool.start()
    try:
        yield Started(pool, bounds, machine, apart(projects, limits))
    finally:
        await pool.close(settings.worker_grace_s)


def apart(projects: Mapping[str, Project], limits: Limits) -> Collection[str]:
    """The projects of which a crew has a process for each run."""
    return {
        name
        for name, project in projects.items()
        for crew in project.crews
        if (limits.project(name).isolation_of(crew) or project.isolation_of(crew)) == PROCESS
    }


def _households(
    settings: Settings,
    projects: Mapping[str, Project],
    own: Mapping[str, Mapping[str, str]],
    memory: str,
) -> Households:
    scoped = any(project.memory == SCOPED for project in projects.values())
    return Households(
        own, tuple(config.listed(settings.runner_writable)), (memory,) if scoped else ()
    )
