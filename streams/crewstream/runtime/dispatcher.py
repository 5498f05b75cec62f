"""Holds undone records, runs those that the window picks, acknowledges each when it is done.

* at most `limit` run at a time; what waits is in the window, which says what runs next;
* an offset delivered again while its run still lives is attached to that run, not run twice;
* of records whose jobs share a key one runs at a time (a second one then finds its outcome);
* a record that is not wanted any more is let go of; if it runs, its run is told by others;
* runs of partitions that went to another member are cancelled, what is queued is handed back;
* `drain` lets runs finish, or hand back, within a grace time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from faust.types import TP

from crewstream.domain.backlog import backlog_s
from crewstream.domain.job import Job
from crewstream.domain.window import Window
from crewstream.errors import NotNow, Transient
from crewstream.records import Inbound
from crewstream.runtime.backoff import Backoff
from crewstream.runtime.leave import STATE_AHEAD, leave

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from crewstream.runtime.book import Book, Record

Work = Callable[[Inbound], Awaitable[None]]
Place = tuple[TP, int]
HAND_BACK_S = 5.0
"""For cancelled runs to let go of what they hold."""

FIRST_REST_S, MOST_REST_S = 0.5, 5.0
"""Between two tries of a job for which there was no place."""

_log = logging.getLogger(__name__)


class Held:
    """One record in our hands; `record` is its latest delivery, `run` is there once it runs.

    `rest_s`: how long it leaves its place to others before it is tried again.
    """

    __slots__ = ("backoff", "job", "record", "rest_s", "run")

    def __init__(self, record: Record, job: Job | None) -> None:
        self.record, self.job = record, job
        self.run: asyncio.Task[None] | None = None
        self.rest_s = 0.0
        self.backoff: Backoff | None = None


@dataclass(frozen=True, slots=True)
class Intake:
    """What the dispatcher asks before it takes or begins anything.

    `describe` gives the job of a record, or None: it is run at once. `unwanted` tells whether the
    job of this name was cancelled, `working` whether work on a record may begin, `flowing` whether
    any may.
    """

    describe: Callable[[Inbound], Job | None]
    unwanted: Callable[[str], bool]
    working: Callable[[Record], bool]
    flowing: Callable[[], bool]


class Dispatcher:
    """The records of one process that are not done."""

    def __init__(self, limit: int, work: Work, intake: Intake, window: Window[Held]) -> None:
        self._limit, self._work, self._intake, self._window = limit, work, intake, window
        self._held: dict[Place, Held] = {}
        self._named: dict[str, set[Held]] = {}
        self._runs: set[Held] = set()
        self._resting: set[Held] = set()
        self._waits: dict[str, int] = {}
        self._closing = False

    def submit(self, records: Iterable[Record]) -> None:
        """Take, attach or drop each: what is dropped is, or will be, delivered again."""
        for record in records:
            if not self._closing and self._intake.working(record):
                self._take(record)
        self._fill()

    def _take(self, record: Record) -> None:
        place = _place(record)
        held = self._held.get(place)
        if held is not None and not (held.run is not None and held.run.cancelling()):
            held.record = record
            return
        job = self._intake.describe(record.inbound)
        if job is not None and self._intake.unwanted(job.name):
            record.ack()
            return
        held = self._held[place] = Held(record, job)
        if job is None:
            self._begin(held)
        else:
            self._named.setdefault(job.name, set()).add(held)
            self._window.add(held, job)

    def _fill(self) -> None:
        """Begin what the window picks, as long as there is room."""
        while (
            not self._closing
            and self._window.running < self._limit
            and self._intake.flowing()
            and (held := self._window.pick()) is not None
        ):
            self._begin(held)

    def _begin(self, held: Held) -> None:
        began_s = time.monotonic()
        held.run = asyncio.create_task(self._run(held))
        self._runs.add(held)
        # A callback, not a `finally`: a task cancelled before its first step never enters its body.
        held.run.add_done_callback(lambda _: self._ended(held, time.monotonic() - began_s))

    async def _run(self, held: Held) -> None:
        try:
            await self._until_done(held.record.inbound)
        except NotNow as exc:
            _log.debug("%s rests: %s", held.record.inbound.position, exc)
            held.backoff = held.backoff or Backoff(first_s=FIRST_REST_S, most_s=MOST_REST_S)
            held.rest_s = held.backoff.next_s()
        else:
            held.record.ack()

    async def _until_done(self, inbound: Inbound) -> None:
        """Work on it until what it needs is there. A bug ends the process, not only the run."""
        backoff = Backoff(first_s=0.2, most_s=10.0)
        while True:
            try:
                return await self._work(inbound)
            except NotNow:
                raise
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

    def _ended(self, held: Held, ran_s: float) -> None:
        self._runs.discard(held)
        if held.job is not None:
            self._window.done(held, ran_s)
        ours = self._held.get(_place(held.record)) is held and self._intake.working(held.record)
        if held.rest_s and ours and not self._closing:
            self._rest(held)
        else:
            self._forget(held)
        self._fill()

    def _rest(self, held: Held) -> None:
        """Leave the place to others for a while; then queue up again."""
        rest_s, held.rest_s, held.run = held.rest_s, 0.0, None
        self._resting.add(held)
        asyncio.get_running_loop().call_later(rest_s, self._rested, held)

    def _rested(self, held: Held) -> None:
        if held not in self._resting:
            return
        self._resting.discard(held)
        if held.job is not None:
            self._window.add(held, held.job)
        self._fill()

    def _forget(self, held: Held) -> None:
        self._resting.discard(held)
        place = _place(held.record)
        if self._held.get(place) is held:
            del self._held[place]
        if held.job is not None:
            named = self._named[held.job.name]
            named.discard(held)
            if not named:
                del self._named[held.job.name]

    def withdraw(self, name: str) -> None:
        """The job of this name is not wanted any more: acknowledge it where it is queued."""
        for held in list(self._named.get(name, ())):
            if self._window.drop(held) or held in self._resting:
                held.record.ack()
                self._forget(held)

    def resize(self, limit: int) -> None:
        """Run so many at a time from now on; what runs already goes on."""
        self._limit = limit
        self._fill()

    def waiting(self) -> int:
        """How many jobs wait for their turn."""
        return self._window.queued

    def backlog_s(self) -> Mapping[str, float]:
        """How long what could run now would keep the slots busy, by project."""
        return backlog_s(self._window.runnable(), self._window.usual, self._limit)

    def queued(self) -> Counter[str]:
        """How many jobs of each project wait for their turn."""
        return self._window.queued_by_project()

    def waits(self) -> set[str]:
        """What runs wait for: a probe for the app's health."""
        return set(self._waits)

    def stuck(self, tp: TP, book: Book) -> bool:
        """The oldest open record is not in our hands, or there are jobs and yet nothing runs."""
        oldest = next(iter(book.open), None)
        if oldest is None:
            return False
        return (tp, oldest) not in self._held or not (self._runs or self._resting)

    def keep_only(self, assigned: Collection[TP]) -> None:
        """After a rebalance: cancel the runs of partitions that are not ours any more.

        What is queued is dropped, whosever it is now: it is delivered again to its owner.
        """
        for (tp, _offset), held in list(self._held.items()):
            if held.run is None:
                self._hand_back(held)
            elif tp not in assigned:
                held.run.cancel()

    def _hand_back(self, held: Held) -> None:
        if not self._intake.working(held.record) or self._closing:
            self._window.drop(held)
            self._forget(held)

    async def drain(self, grace_s: float) -> None:
        """Begin nothing more; hand back what is queued, wait for the runs, cancel those left."""
        self._closing = True
        for held in list(self._held.values()):
            if held.run is None:
                self._hand_back(held)
        tasks = [held.run for held in self._runs if held.run is not None]
        if not tasks:
            return
        _log.info("waiting up to %g s for %d runs", grace_s, len(tasks))
        _, left = await asyncio.wait(tasks, timeout=grace_s)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=HAND_BACK_S)


def _place(record: Record) -> Place:
    inbound = record.inbound
    return TP(inbound.topic, inbound.partition), inbound.offset
