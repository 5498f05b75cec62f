"""A run that the pool has taken on, the limits it is held to, and how it ends without a runner."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime

from crewstream_agents.remote import Remote
from crewstream_agents.spec import CrewOutcome, CrewTask, Failure, Status

DIED = Failure("runner.died", "The runner process died in every try.", retryable=True)
TOO_LATE = Failure(
    "task.timeout", "The attempt's deadline had passed before its run began.", retryable=True
)
CANCELLED = Failure("task.cancelled", "The run was cancelled.")


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """When a runner is not fit any more, and how long things may take."""

    heartbeat_s: float = 1.0
    hung_after_s: float = 30.0
    """Without a heartbeat, while it has runs. The stock loop can block for seconds."""
    max_rss_bytes: int = 1_500_000_000
    max_runs: int = 5_000
    idle_s: float = 60.0
    """Without a run, until a runner that is one too many is let go of: its crews are built."""
    max_file_bytes: int = 0
    """Of any file that a runner writes; 0: no limit."""
    stop_grace_s: float = 5.0
    """From a cancellation or deadline to the end of the run."""
    drain_s: float = 300.0
    """How long a runner that is to be replaced may take over the runs that it has."""
    max_starts: int = 3
    """Of one run, when runners die under it."""

    def unfit(self, remote: Remote, now: float) -> str:
        """Why a runner should take no more runs; empty when it is well."""
        if self.hung(remote, now):
            return "it hangs"
        if any(now - since > self.stop_grace_s for since in remote.stopping.values()):
            return "a run in it does not stop"
        if remote.stray_since is not None and now - remote.stray_since > self.stop_grace_s:
            return "threads of ended runs still work in it"
        if remote.started >= self.max_runs:
            return f"it has started {remote.started} runs"
        if remote.rss_bytes() > self.max_rss_bytes:
            return f"it uses more than {self.max_rss_bytes} bytes"
        return ""

    def hung(self, remote: Remote, now: float) -> bool:
        """Whether a runner with runs has not been heard of for too long."""
        busy = remote.runs or remote.stopping
        return bool(busy) and now - remote.heard_at > self.hung_after_s


@dataclass(frozen=True, slots=True)
class PoolState:
    """What a pool has and does at a moment; `waiting` are runs without a slot."""

    runners: int
    slots: int
    busy: int
    waiting: int
    rss_bytes: int


class PoolClosed(Exception):
    """The pool is closing; the run was not finished and may be run elsewhere."""


class GaveUp(Exception):
    """The run did not obey its cancellation, and nobody waits for it any more."""


class Withdrawn(Exception):
    """The run was cancelled before it had a runner."""


@dataclass(slots=True)
class Ticket:
    """A run that the pool has taken on."""

    task: CrewTask
    caller: asyncio.Task[CrewOutcome] | None
    began_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    remote: Remote | None = None
    cancelled: bool = False
    waiting: asyncio.Future[None] | None = None


def unfinished(ticket: Ticket, failure: Failure) -> CrewOutcome:
    """The outcome of a run that cannot tell how it went."""
    status = Status.CANCELLED if failure is CANCELLED else Status.FAILED
    return CrewOutcome(
        assignment_id=ticket.task.assignment_id,
        status=status,
        started_at=ticket.began_at,
        finished_at=datetime.now(UTC),
        failure=failure,
    )
