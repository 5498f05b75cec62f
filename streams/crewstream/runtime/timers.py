"""Due times of the rows that we own; what is due sends a signal, until its row has moved on."""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from crewstream.runtime.leave import STATE_AHEAD, leave

TICK_S = 0.2
RESEND_S = 30.0
"""A signal may get lost with the process that sent it; the row still has the due time then."""
CHUNK = 100
"""Rows looked at before the loop gets its turn: heartbeats live in it."""

_log = logging.getLogger(__name__)


class Due(NamedTuple):
    """A timer that is to be sent now."""

    partition: int
    key: bytes
    due: datetime


@dataclass(slots=True)
class _Timer:
    due: datetime
    send_at_s: float


class Timers:
    """When each row of the owned partitions is due. Pure: it is told what time it is."""

    def __init__(self) -> None:
        self._timers: dict[tuple[int, bytes], _Timer] = {}
        self._heap: list[tuple[float, int, bytes]] = []

    def __len__(self) -> int:
        return len(self._timers)

    def set(self, partition: int, key: bytes, due: datetime | None) -> None:
        """The row has this due time from now on, or none."""
        timer = self._timers.get((partition, key))
        if due is None:
            self._timers.pop((partition, key), None)
        elif timer is None or timer.due != due:
            self._timers[partition, key] = _Timer(due, due.timestamp())
            heapq.heappush(self._heap, (due.timestamp(), partition, key))
            self._shed()

    def forget(self, partition: int) -> None:
        """The partition is not ours any more."""
        self._timers = {at: timer for at, timer in self._timers.items() if at[0] != partition}

    def take(self, now: datetime) -> Iterator[Due]:
        """The timers to send at `now`, oldest first; each again RESEND_S later if still set."""
        now_s = now.timestamp()
        while self._heap and self._heap[0][0] <= now_s:
            at_s, partition, key = heapq.heappop(self._heap)
            timer = self._timers.get((partition, key))
            if timer is None or timer.send_at_s != at_s:
                continue  # changed or deleted since
            timer.send_at_s = now_s + RESEND_S
            heapq.heappush(self._heap, (timer.send_at_s, partition, key))
            yield Due(partition, key, timer.due)

    def _shed(self) -> None:
        """Entries of timers changed long before they are due are let go when they are the most."""
        if len(self._heap) > 2 * len(self._timers) + 1000:
            self._heap = [(t.send_at_s, *at) for at, t in self._timers.items()]
            heapq.heapify(self._heap)


class TimerService:
    """Sends what is due, and fills the timers from recovered rows without holding the loop."""

    def __init__(
        self,
        timers: Timers,
        *,
        send: Callable[[Due], Awaitable[None]],
        due_of: Callable[[int, bytes], datetime | None],
        keys_of: Callable[[int], Iterable[bytes]],
        may_send: Callable[[], bool],
    ) -> None:
        self._timers, self._send, self._may_send = timers, send, may_send
        self._due_of, self._keys_of = due_of, keys_of
        self._scans: dict[int, asyncio.Task[None]] = {}

    def changed(self, partition: int, key: bytes) -> None:
        """Another owner wrote this row; look at it again."""
        self._timers.set(partition, key, self._due_of(partition, key))

    def lost(self, partition: int) -> None:
        scan = self._scans.pop(partition, None)
        if scan is not None:
            scan.cancel()
        self._timers.forget(partition)

    def recovered(self, partition: int) -> None:
        """All rows of a partition are here: find their due times, in the background."""
        scan = asyncio.get_running_loop().create_task(self._scan(partition))
        self._scans[partition] = scan
        scan.add_done_callback(_leave_if_failed)

    async def _scan(self, partition: int) -> None:
        for number, key in enumerate(self._keys_of(partition)):
            self.changed(partition, key)
            if number % CHUNK == 0:
                await asyncio.sleep(0)

    async def run(self) -> None:
        """Send what is due until cancelled, never during a rebalance."""
        while True:
            await asyncio.sleep(TICK_S)
            if not self._may_send():
                continue
            for due in self._timers.take(datetime.now(UTC)):
                await self._send(due)

    def stop(self) -> None:
        for scan in self._scans.values():
            scan.cancel()


def _leave_if_failed(scan: asyncio.Task[None]) -> None:
    if not scan.cancelled() and (exc := scan.exception()) is not None:
        leave(STATE_AHEAD, "the due times of recovered rows cannot be read", cause=exc)
