"""What is measured, running: one broker, the product's processes, the raw echo beside them."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
from bench import floor

from crewstream.adapters import kafka
from crewstream.config import cache_home
from crewstream.contracts.connection import KafkaConnection
from crewstream.embedded.installation import Installation, Ports
from crewstream.embedded.owned import OwnedProcess, spawn
from crewstream.embedded.supervisor import Service, Supervisor

PREFIX = "bench"
SERVERS = ("kafka", "valkey")
# An echo ends at once: the number of slots, made for crews, must not be what is measured.
SETTINGS = {
    "CREWSTREAM_WORKER_RUNS": "echo",
    "CREWSTREAM_WORKER_CONCURRENCY": "256",
    "CREWSTREAM_LOG_LEVEL": "warning",
}


@dataclass(frozen=True, slots=True)
class Stage:
    """The installation that is measured, and the processes on it by name."""

    installation: Installation
    processes: dict[str, OwnedProcess] = field(default_factory=dict)

    def cpu_s(self, names: Collection[str]) -> dict[str, float]:
        """The CPU seconds that each of these has used so far, all threads, user and system."""
        return {name: _cpu_s(self.processes[name].pid) for name in names}

    @asynccontextmanager
    async def running(self, services: Iterable[Service]) -> AsyncIterator[None]:
        """Run these as well. What they need runs already."""
        alone = [replace(service, after=()) for service in services]
        async with Supervisor(alone) as supervisor:
            self.processes.update(supervisor.processes)
            yield

    def product(self, *names: str) -> Iterable[Service]:
        """The product's processes of these names."""
        return [service for service in self.installation.services() if service.name in names]

    def echoes(self) -> Iterable[Service]:
        """The two processes of the raw echo."""
        return map(self._echo, floor.ROLES)

    def _echo(self, role: str) -> Service:
        name = f"{floor.PREFIX}-{role}"
        argv = [sys.executable, "-m", "bench.floor", role, self.installation.kafka.bootstrap]

        def launch() -> OwnedProcess:
            return spawn(name, argv, log_file=self.installation.log_of(name))

        # The first burst, which nobody measures, waits for it.
        return Service(name, launch, lambda: True)


@asynccontextmanager
async def stage(settings: Mapping[str, str] = SETTINGS) -> AsyncIterator[Stage]:
    """A Stage with its servers running, in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="crewstream-bench-") as folder:
        found = Stage(
            Installation(
                Path(folder),
                cache_dir=cache_home(),
                prefix=PREFIX,
                ports=Ports.free(),
                settings=settings,
            )
        )
        async with found.running(found.product(*SERVERS)):
            connection = KafkaConnection(found.installation.kafka.bootstrap)
            await kafka.apply(await kafka.plan(floor.topics(), connection), connection)
            yield found


def _cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)
