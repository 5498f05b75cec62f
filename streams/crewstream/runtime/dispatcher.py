"""Runs many long records at once, and acknowledges each when it is done.

* at most `limit` at a time; `submit` waits for room;
* an offset delivered again while its run still lives is attached to that run, not run twice;
* a record with the key of a run waits for that run (and then finds its outcome);
* runs of partitions that went to another member are cancelled;
* `drain` lets runs finish, or hand back, within a grace time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from faust.types import TP

from crewstream.errors import Transient
from crewstream.records import Inbound
from crewstream.runtime.backoff import Backoff
from crewstream.runtime.leave import STATE_AHEAD, leave

if TYPE_CHECKING:
    from collections.abc import Collection

    from crewstream.runtime.book import Book, Record

Work = Callable[[Inbound], Awaitable[None]]
HAND_BACK_S = 5.0
"""For cancelled runs to let go of what they hold."""

_log = logging.getLogger(__name__)


class Run:
    """One record being worked on; `record` is its latest delivery."""

    __slots__ = ("record", "task")
    task: asyncio.Task[None]

    def __init__(self, record: Record) -> None:
        self.record = record


class Dispatcher:
    """The runs of one process. `working` says whether work on a record may begin."""

    def __init__(self, limit: int, work: Work, *, working: Callable[[Record], bool]) -> None:
        self._room, self._work, self._working = asyncio.Semaphore(limit), work, working
        self._runs: dict[tuple[TP, int], Run] = {}
        self._last_of_key: dict[bytes | None, asyncio.Task[None]] = {}
        self._waits: dict[str, int] = {}
        self._closing = False

    async def submit(self, record: Record) -> None:
        """Begin, attach or drop: what is dropped is, or will be, delivered again."""
        where = _where(record.inbound)
        if self._refuses(record) or self._attach(record, where):
            return
        await self._room.acquire()
        if self._refuses(record):
            self._room.release()
            return
        self._begin(record, where)

    def _refuses(self, record: Record) -> bool:
        return self._closing or not self._working(record)

    def _attach(self, record: Record, where: tuple[TP, int]) -> bool:
        run = self._runs.get(where)
        if run is None or run.task.cancelling():
            return False
        run.record = record
        return True

    def _begin(self, record: Record, where: tuple[TP, int]) -> None:
        run, key = Run(record), record.inbound.key
        run.task = asyncio.create_task(self._run(self._last_of_key.get(key), run))
        self._runs[where], self._last_of_key[key] = run, run.task
        # A callback, not a `finally`: a task cancelled before its first step never enters its body.
        run.task.add_done_callback(lambda _: self._ended(where, key, run))

    async def _run(self, before: asyncio.Task[None] | None, run: Run) -> None:
        if before is not None:
            await asyncio.wait([before])
        await self._until_done(run.record.inbound)
        run.record.ack()

    async def _until_done(self, inbound: Inbound) -> None:
        """Work on it until what it needs is there. A bug ends the process, not only the run."""
        backoff = Backoff(first_s=0.2, most_s=10.0)
        while True:
            try:
                return await self._work(inbound)
            except Transient as exc:
                await self._wait_out(inbound, exc, backoff.next_s())
            except Exception as exc:  # noqa: BLE001
                leave(STATE_AHEAD, f"{inbound.position} cannot be worked on", cause=exc)

    async def _wait_out(self, inbound: Inbound, exc: Transient, wait_s: float) -> None:
        why = str(exc)
        if why not in self._waits:
            _log.warning("%s waits: %s", inbound.position, why)
        self._waits[why] = self._waits.get(why, 0) + 1
        try:
            await asyncio.sleep(wait_s)
        finally:
            self._waits[why] -= 1
            if not self._waits[why]:
                del self._waits[why]

    def _ended(self, where: tuple[TP, int], key: bytes | None, run: Run) -> None:
        self._room.release()
        if self._runs.get(where) is run:
            del self._runs[where]
        if self._last_of_key.get(key) is run.task:
            del self._last_of_key[key]

    def waits(self) -> set[str]:
        """What runs wait for: a probe for the app's health."""
        return set(self._waits)

    def stuck(self, tp: TP, book: Book) -> bool:
        """There is room, and yet the oldest open record is not being worked on."""
        oldest = next(iter(book.open), None)
        return oldest is not None and not self._room.locked() and (tp, oldest) not in self._runs

    def keep_only(self, assigned: Collection[TP]) -> None:
        """Cancel the runs of partitions that are not ours any more."""
        for (tp, _offset), run in list(self._runs.items()):
            if tp not in assigned:
                run.task.cancel()

    async def drain(self, grace_s: float) -> None:
        """Begin nothing more; wait for the runs, then cancel those left."""
        self._closing = True
        tasks = [run.task for run in self._runs.values()]
        if not tasks:
            return
        _log.info("waiting up to %g s for %d runs", grace_s, len(tasks))
        _, left = await asyncio.wait(tasks, timeout=grace_s)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=HAND_BACK_S)


def _where(inbound: Inbound) -> tuple[TP, int]:
    return TP(inbound.topic, inbound.partition), inbound.offset
