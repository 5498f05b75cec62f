"""What processors need from outside, as protocols and plain values in our own words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from crewstream_agents.spec import Candidate, CrewOutcome, CrewTask


class Rows(Protocol):
    """Read access to the coordinator's tables: a changelog topic and a key -> the stored value."""

    def get(self, topic: str, key: bytes) -> bytes | None: ...


class Clock(Protocol):
    """The wall clock."""

    def now(self) -> datetime: ...


class CrewRuns(Protocol):
    """Where crews run."""

    async def run(self, task: CrewTask) -> CrewOutcome:
        """Run one attempt to its end; a failure is an outcome, never an exception.

        One whose deadline has passed is not run; its outcome has what earlier runs of it used.
        """
        ...

    def cancel(self, assignment_id: str) -> bool:
        """Stop a run, which then ends as cancelled; False: there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Journaled:
    """The journal that an outcome ends, as its run had it; `epoch` 0: it had none.

    `covered`: the journal's records up to this one are in an outcome now.
    """

    name: str = ""
    epoch: int = 0
    covered: int = 0
    succeeded: bool = False


NOT_JOURNALED = Journaled()


class Outcomes(Protocol):
    """Finished assignments: what was sent about each, so that a redelivery answers from it."""

    async def get(self, assignment_id: str) -> bytes | None: ...

    async def put(
        self, assignment_id: str, result: bytes, journaled: Journaled = NOT_JOURNALED
    ) -> bytes:
        """Keep the result, unless there is one already; what is kept.

        Raises Transient, with nothing changed: another run owns the journal now.
        """
        ...


class Standings(Protocol):
    """How agents stand, by their records."""

    async def of(self, project_id: str, crew: str, task_type: str) -> Mapping[str, Candidate]:
        """Those of a crew by `task_type/agent`; empty when nothing is known. Never raises.

        Of one task type and of coworkers, or of every one for an empty task type.
        """
        ...


class StatusStore(Protocol):
    """The latest state of each workflow, for people to read."""

    async def put(self, states: Sequence[tuple[str, Mapping[str, object] | None]]) -> None:
        """(workflow_id, state as JSON-ready mapping, or None: forget it), in order of arrival."""
        ...

    async def get(self, workflow_id: str) -> Mapping[str, object] | None: ...
