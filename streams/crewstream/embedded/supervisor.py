"""Starts, watches, restarts and stops processes; none outlives it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Self

from crewstream.embedded.owned import OwnedProcess, await_ready, died, trim_log
from crewstream.errors import Misconfigured, StartFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

LOG_CHECK_S = 60.0
FIRST_DELAY_S, LONGEST_DELAY_S = 0.5, 8.0
# A process that stayed up this long is well: its next restart comes quickly again.
STABLE_AFTER_S = 30.0


@dataclass(frozen=True, slots=True)
class Service:
    """A process to keep running.

    `launch` spawns it (see `owned.spawn`) and may take its time: it runs in a thread, and so does
    `ready`, which is asked again and again until it is true. It is started when all of `after` are
    ready, and stopped before they are.
    """

    name: str
    launch: Callable[[], OwnedProcess]
    ready: Callable[[], bool]
    after: tuple[str, ...] = ()
    ready_within_s: float = 60.0
    stop_grace_s: float = 30.0


class Phase(StrEnum):
    """What happens to a service."""

    STARTING = "starting"
    READY = "ready"
    DIED = "died"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Event:
    """One moment in a service's life. `detail`: why it died, with its last words."""

    service: str
    phase: Phase
    detail: str = ""
    delay_s: float = 0.0


class Supervisor:
    """Keeps services running inside an `async with` block; stops them in reverse order after it.

    Entering returns when all are ready, or raises StartFailed when one does not become so; then all
    are stopped again. What dies later is restarted for ever, with growing delays. `on_event` is
    called on the event loop. Kill -9 of this process ends all of them too: they are on its leash.

        async with Supervisor(services, on_event=show) as supervisor:
            await supervisor.wait()
    """

    def __init__(
        self, services: Iterable[Service], *, on_event: Callable[[Event], None] = lambda _: None
    ) -> None:
        self.services = {service.name: service for service in _in_order(services)}
        self.processes: dict[str, OwnedProcess] = {}
        self._on_event = on_event
        self._ready = {name: asyncio.Event() for name in self.services}
        self._keepers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._keepers = [
            asyncio.create_task(self._keep(service), name=f"keep {service.name}")
            for service in self.services.values()
        ]
        try:
            await self._all_ready()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self.stop()

    async def wait(self) -> None:
        """Return never; raise what broke the supervision itself."""
        await asyncio.gather(*self._keepers)

    async def restart(self, name: str) -> None:
        """Have a service stop within its grace time; its keeper starts it anew."""
        service, process = self.services[name], self.processes.get(name)
        if process is not None:
            self._tell(service, Phase.STOPPING)
            await _end(process, service.stop_grace_s)

    async def kill(self) -> None:
        """End what runs at once, for those who want nothing of it any more."""
        await self._let_go()
        for process in self.processes.values():
            process.signal(signal.SIGKILL)
        await asyncio.gather(*(asyncio.wrap_future(p.ended) for p in self.processes.values()))

    async def stop(self) -> None:
        """Stop what runs, dependants first, each within its grace time."""
        await self._let_go()
        left = dict(self.services)
        while left:
            needed = {name for service in left.values() for name in service.after}
            now = [left.pop(name) for name in list(left) if name not in needed]
            await asyncio.gather(*map(self._stop_one, now))

    async def _let_go(self) -> None:
        for keeper in self._keepers:
            keeper.cancel()
        # A keeper ends only when what it was launching is known in `processes`.
        await asyncio.gather(*self._keepers, return_exceptions=True)

    async def _all_ready(self) -> None:
        """Return when all are; raise what a keeper ended with when that comes first."""
        everyone = asyncio.create_task(self._each_ready())
        try:
            tasks = [everyone, *self._keepers]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            everyone.cancel()
        for keeper in self._keepers:
            if keeper.done():
                keeper.result()

    async def _each_ready(self) -> None:
        for ready in self._ready.values():
            await ready.wait()

    async def _keep(self, service: Service) -> None:
        """Start the service, and again whenever it ends. StartFailed: its first start failed."""
        for name in service.after:
            await self._ready[name].wait()
        failures = 0
        while True:
            lasted_s, reason = await self._run_once(service)
            failures = 1 if lasted_s > STABLE_AFTER_S else failures + 1
            self._tell(service, Phase.DIED, detail=reason)
            delay_s = restart_delay_s(failures)
            self._tell(service, Phase.RESTARTING, delay_s=delay_s)
            await asyncio.sleep(delay_s)

    async def _run_once(self, service: Service) -> tuple[float, str]:
        """One life of the service: for how many seconds it was ready, and why it ended."""
        self._tell(service, Phase.STARTING)
        try:
            process = await self._launch(service)
            await asyncio.to_thread(await_ready, process, service.ready, service.ready_within_s)
        except StartFailed as error:
            if not self._ready[service.name].is_set():
                raise
            return 0.0, str(error)
        since = time.monotonic()
        self._ready[service.name].set()
        self._tell(service, Phase.READY)
        await self._ended(process)
        return time.monotonic() - since, died(process)

    async def _launch(self, service: Service) -> OwnedProcess:
        launching = asyncio.ensure_future(asyncio.to_thread(service.launch))
        try:
            process = await asyncio.shield(launching)
        except asyncio.CancelledError:
            # A thread cannot be cancelled: what it is about to spawn must be known to `stop`.
            with contextlib.suppress(StartFailed):
                self.processes[service.name] = await launching
            raise
        self.processes[service.name] = process
        return process

    async def _ended(self, process: OwnedProcess) -> None:
        """Return when the process has ended; its log is kept short meanwhile."""
        ended = asyncio.wrap_future(process.ended)
        while not (await asyncio.wait({ended}, timeout=LOG_CHECK_S))[0]:
            await asyncio.to_thread(trim_log, process.log_file)

    async def _stop_one(self, service: Service) -> None:
        process = self.processes.get(service.name)
        if process is None:
            return
        self._tell(service, Phase.STOPPING)
        await _end(process, service.stop_grace_s)
        self._tell(service, Phase.STOPPED)

    def _tell(
        self, service: Service, phase: Phase, *, detail: str = "", delay_s: float = 0.0
    ) -> None:
        self._on_event(Event(service.name, phase, detail, delay_s))


async def _end(process: OwnedProcess, grace_s: float) -> None:
    """SIGTERM, then SIGKILL after `grace_s`; without a thread, for many may be stopped at once."""
    ended = asyncio.wrap_future(process.ended)
    process.signal(signal.SIGTERM)
    if not (await asyncio.wait({ended}, timeout=grace_s))[0]:
        process.signal(signal.SIGKILL)
        await ended


def restart_delay_s(failures: int) -> float:
    """Seconds before the next start, after so many failures in a row (at least 1)."""
    return float(min(FIRST_DELAY_S * 2 ** min(failures - 1, 10), LONGEST_DELAY_S))


def _in_order(services: Iterable[Service]) -> list[Service]:
    """The services, each behind those it depends on; Misconfigured when there is no such order."""
    left = {service.name: service for service in services}
    ordered: list[Service] = []
    while left:
        known = {service.name for service in ordered}
        now = [service for service in left.values() if known.issuperset(service.after)]
        if not now:
            raise Misconfigured(
                f"these services wait for one another, or for one that is not there: {sorted(left)}"
            )
        ordered += now
        for service in now:
            del left[service.name]
    return ordered
