"""The runners of a worker: as many as its work needs and its machine bears, and what they use."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

import psutil

from crewstream.contracts import envelope
from crewstream.contracts.codec import Codec
from crewstream.domain import measurements
from crewstream.errors import Unreachable
from crewstream.meters import Meter
from crewstream.records import Outbound
from crewstream_agents.machine import Use
from crewstream_agents.sizing import Bounds, Load, Size, next_size

if TYPE_CHECKING:
    from crewstream_agents.ticket import PoolState

LOOK_S = 1.0
"""Between two looks: a burst of work does not wait long, and a look costs a millisecond."""
SOURCE = "crewstream/worker"
_log = logging.getLogger(__name__)


class Pool(Protocol):
    """What runs crews."""

    @property
    def state(self) -> PoolState: ...

    def resize(self, runners: int) -> None: ...


class Looks(Protocol):
    """What is looked at: the machine, or our share of it."""

    @property
    def cores(self) -> int: ...

    def look(self) -> Use: ...


class Queue(Protocol):
    """What waits in a worker."""

    def resize(self, limit: int) -> None: ...

    def waiting(self) -> int: ...

    def backlog_s(self) -> Mapping[str, float]: ...


class Out(Protocol):
    """Where measurements go. Raises Unreachable."""

    async def send(self, records: Iterable[Outbound]) -> None: ...


@dataclass(frozen=True, slots=True)
class Telling:
    """Where and how often it is told what `worker`, by its name, uses; `every_s` 0: never."""

    out: Out
    codec: Codec
    topic: str
    worker: str
    every_s: float


class Resources:
    """Looks at the machine and the queue, gives the pool its size, and says what is used."""

    def __init__(
        self,
        pool: Pool,
        bounds: Bounds,
        machine: Looks,
        *,
        queue: Queue,
        meter: Meter,
        telling: Telling,
    ) -> None:
        self._pool, self._bounds, self._machine = pool, bounds, machine
        self._queue, self._meter, self._telling = queue, meter, telling
        self._size, self._told_s = Size(bounds.least), time.monotonic()
        self._worker = psutil.Process(os.getpid())

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Look again and again in here."""
        chore = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            chore.cancel()
            await asyncio.gather(chore, return_exceptions=True)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.look()
            except Exception:  # noqa: BLE001 - runs go on with the runners that there are
                _log.exception("what the worker uses cannot be told")

    async def look(self) -> None:
        """Look once: resize if need be, and tell."""
        use, state = self._machine.look(), self._pool.state
        load = Load(state.busy, state.waiting + self._queue.waiting(), use.cpu, use.memory)
        before, self._size = self._size, next_size(self._size, load, self._bounds)
        if before.runners != self._size.runners:
            _log.info("%d runners instead of %d", self._size.runners, before.runners)
            self._pool.resize(self._size.runners)
            self._queue.resize(self._size.runners * self._bounds.concurrency)
        self._show(use, state)
        every_s, now_s = self._telling.every_s, time.monotonic()
        if every_s and now_s - self._told_s >= every_s:
            self._told_s = now_s
            await self._tell(use, state)

    def _show(self, use: Use, state: PoolState) -> None:
        gauge = self._meter.gauge
        gauge("crewstream_runners", state.runners)
        gauge("crewstream_slots", state.slots)
        gauge("crewstream_slots_busy", state.busy)
        gauge("crewstream_runners_bytes", state.rss_bytes)
        gauge("crewstream_cpu_ratio", use.cpu)
        gauge("crewstream_memory_ratio", use.memory)

    async def _tell(self, use: Use, state: PoolState) -> None:
        told = self._telling
        at, resident = datetime.now(UTC), self._worker.memory_info().rss + state.rss_bytes
        figures = {
            "cpu": f"{use.cpu:.4f}",
            "memory": f"{use.memory:.4f}",
            "runners": str(state.runners),
            "slots": str(state.slots),
            "busy": str(state.busy),
            "queued": str(state.waiting + self._queue.waiting()),
            "backlog_s": f"{sum(self._queue.backlog_s().values()):.3f}",
        }
        cores = use.cpu * self._machine.cores
        event = measurements.resources(told.worker, at, cores, resident, figures)
        headers = envelope.headers_for(
            "Measured",
            id=event.event_id,
            source=SOURCE,
            subject=told.worker,
            time=at,
            tenant_id="",
            correlation_id=told.worker,
        )
        value, key = told.codec.encode(event), told.worker.encode()
        try:
            await told.out.send([Outbound(told.topic, key, value, headers)])
        except Unreachable as error:
            # The next one tells as much; work waits for Kafka, this does not.
            _log.debug("a measurement is lost: %s", error)
