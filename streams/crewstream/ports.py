"""What processors need from outside, as protocols and plain values in our own words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from crewstream_agents.spec import CrewOutcome, CrewTask


class Rows(Protocol):
    """Read access to the coordinator's tables: a changelog topic and a key -> the stored value."""

    def get(self, topic: str, key: bytes) -> bytes | None: ...


class Clock(Protocol):
    """The wall clock."""

    def now(self) -> datetime: ...


class CrewRuns(Protocol):
    """Where crews run."""

    async def run(self, task: CrewTask) -> CrewOutcome:
        """Run one attempt to its end; a failure is an outcome, never an exception."""
        ...


class Outcomes(Protocol):
    """Finished assignments: what was sent about each, so that a redelivery answers from it."""

    async def get(self, assignment_id: str) -> bytes | None: ...

    async def put(self, assignment_id: str, result: bytes) -> None: ...


class StatusStore(Protocol):
    """The latest state of each workflow, for people to read."""

    async def put(self, states: Sequence[tuple[str, Mapping[str, object] | None]]) -> None:
        """(workflow_id, state as JSON-ready mapping, or None: forget it), in order of arrival."""
        ...

    async def get(self, workflow_id: str) -> Mapping[str, object] | None: ...
