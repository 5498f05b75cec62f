"""Which assignments are not wanted any more, and what follows for those that a worker has."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from crewstream.contracts.codec import Codec
from crewstream.contracts.events import TaskCancelled
from crewstream.errors import Transient, Undecodable
from crewstream.ports import Clock, CrewRuns
from crewstream_agents.spec import CrewOutcome, CrewTask, Failure, Status

KEPT = timedelta(hours=1)
"""An assignment that comes so much later than its cancellation is run after all."""
MOST = 100_000
CANCELLED = Failure("task.cancelled", "It was cancelled before its run began.")
_log = logging.getLogger(__name__)


class Cancellations:
    """What was told on `task.cancellations` lately, at most `most` of it.

    `withdraw` lets go of an assignment that is queued; one that runs is cancelled where it runs.
    """

    def __init__(self, codec: Codec, runs: CrewRuns, clock: Clock, most: int = MOST) -> None:
        self._codec, self._runs, self._clock, self._most = codec, runs, clock, most
        self._told: dict[str, datetime] = {}
        self.withdraw: Callable[[str], None] = lambda _: None

    def __contains__(self, assignment_id: object) -> bool:
        return assignment_id in self._told

    def tell(self, key: bytes, value: bytes) -> None:
        """A record of the topic: its assignment is let go of, and not begun any more."""
        try:
            cancelled = self._codec.decode(value, TaskCancelled)
        except (Undecodable, Transient) as error:
            _log.warning("cancellation %r left out: %s", key[:200], error)
            return
        self._remember(cancelled.assignment_id)
        self.withdraw(cancelled.assignment_id)
        if self._runs.cancel(cancelled.assignment_id):
            _log.info("%s is cancelled: %s", cancelled.assignment_id, cancelled.reason)

    def _remember(self, assignment_id: str) -> None:
        now = self._clock.now()
        self._told.pop(assignment_id, None)
        self._told[assignment_id] = now
        while self._told:
            oldest, at = next(iter(self._told.items()))
            if now - at <= KEPT and len(self._told) <= self._most:
                return
            del self._told[oldest]


class WantedRuns:
    """Crew runs that do not begin what was cancelled while it waited for something else."""

    def __init__(self, runs: CrewRuns, cancelled: Cancellations, clock: Clock) -> None:
        self._runs, self._cancelled, self._clock = runs, cancelled, clock

    async def run(self, task: CrewTask) -> CrewOutcome:
        """As CrewRuns does."""
        if task.assignment_id not in self._cancelled:
            return await self._runs.run(task)
        now = self._clock.now()
        return CrewOutcome(task.assignment_id, Status.CANCELLED, now, now, failure=CANCELLED)

    def cancel(self, assignment_id: str) -> bool:
        """As CrewRuns does."""
        return self._runs.cancel(assignment_id)
