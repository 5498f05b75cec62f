"""In-memory ports, shipped: for our tests, and for those of who builds on crewstream."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from crewstream.errors import Transient
from crewstream.ports import NOT_JOURNALED, Journaled
from crewstream_agents.spec import CrewOutcome, CrewTask, Failure, Status


@dataclass(slots=True)
class FixedClock:
    """A clock that stands until it is moved."""

    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def move(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@dataclass(slots=True)
class MemoryRows:
    """The coordinator's tables as dictionaries."""

    tables: dict[tuple[str, bytes], bytes] = field(default_factory=dict)

    def get(self, topic: str, key: bytes) -> bytes | None:
        return self.tables.get((topic, key))

    def put(self, topic: str, key: bytes, value: bytes | None) -> None:
        if value is None:
            self.tables.pop((topic, key), None)
        else:
            self.tables[topic, key] = value


@dataclass(slots=True)
class MemoryOutcomes:
    """Finished assignments in a dictionary; `epochs` are the leases of journals, by name."""

    kept: dict[str, bytes] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)
    reported: dict[str, int] = field(default_factory=dict)

    async def get(self, assignment_id: str) -> bytes | None:
        return self.kept.get(assignment_id)

    async def put(
        self, assignment_id: str, result: bytes, journaled: Journaled = NOT_JOURNALED
    ) -> bytes:
        if assignment_id in self.kept:
            return self.kept[assignment_id]
        if journaled.epoch:
            if self.epochs.get(journaled.name, journaled.epoch) != journaled.epoch:
                raise Transient(f"another run owns the journal {journaled.name}")
            self.reported[journaled.name] = journaled.covered
        self.kept[assignment_id] = result
        return result


@dataclass(slots=True)
class MemoryStatus:
    """The latest state of each workflow in a dictionary; an older version changes nothing."""

    states: dict[str, Mapping[str, object]] = field(default_factory=dict)

    async def put(self, states: Sequence[tuple[str, Mapping[str, object] | None]]) -> None:
        for workflow_id, state in states:
            if state is None:
                self.states.pop(workflow_id, None)
            elif _version(state) > _version(self.states.get(workflow_id, {})):
                self.states[workflow_id] = state

    async def get(self, workflow_id: str) -> Mapping[str, object] | None:
        return self.states.get(workflow_id)


@dataclass(slots=True)
class MemoryMeter:
    """What was counted, by name; labels are left out."""

    counted: Counter[str] = field(default_factory=Counter)
    values: dict[str, list[float]] = field(default_factory=dict)

    def count(self, name: str, by: float = 1, **_labels: str) -> None:
        self.counted[name] += by  # type: ignore[assignment]  # a Counter may count fractions

    def observe(self, name: str, value: float, **_labels: str) -> None:
        self.values.setdefault(name, []).append(value)

    def gauge(self, name: str, value: float, **_labels: str) -> None:
        self.values[name] = [value]


class EchoRuns:
    """Crew runs without a crew: the output repeats the task's description, at once.

    What remains is the cost of crewstream itself, so the benchmarks and drills use it. The task's
    inputs may ask for `sleep_s` seconds of work, and for `fail`: an error type.
    """

    def __init__(self) -> None:
        self._sleeping: dict[str, asyncio.Event] = {}

    async def run(self, task: CrewTask) -> CrewOutcome:
        started = datetime.now(UTC)
        if task.deadline_s <= 0:
            late = Failure("task.timeout", "Its deadline had passed.", retryable=True)
            return CrewOutcome(task.assignment_id, Status.FAILED, started, started, failure=late)
        if await self._sleep(task.assignment_id, float(str(task.inputs.get("sleep_s", 0)))):
            cancelled = Failure("task.cancelled", "The run was cancelled.")
            return CrewOutcome(
                task.assignment_id, Status.CANCELLED, started, datetime.now(UTC), failure=cancelled
            )
        fails = str(task.inputs.get("fail", ""))
        return CrewOutcome(
            assignment_id=task.assignment_id,
            status=Status.FAILED if fails else Status.SUCCEEDED,
            started_at=started,
            finished_at=datetime.now(UTC),
            output=task.description or task.task_id,
            agent="echo",
            offline=True,
            failure=Failure(fails, "the inputs asked for it", retryable=True) if fails else None,
        )

    def cancel(self, assignment_id: str) -> bool:
        """Wake the run of this assignment; False: it does not sleep."""
        woken = self._sleeping.get(assignment_id)
        if woken is not None:
            woken.set()
        return woken is not None

    async def _sleep(self, assignment_id: str, seconds: float) -> bool:
        """Whether it was cancelled meanwhile."""
        if not seconds:
            return False
        woken = self._sleeping[assignment_id] = asyncio.Event()
        try:
            await asyncio.wait_for(woken.wait(), seconds)
        except TimeoutError:
            return False
        finally:
            del self._sleeping[assignment_id]
        return True


def _version(state: Mapping[str, object]) -> int:
    return int(str(state.get("version", 0)))
