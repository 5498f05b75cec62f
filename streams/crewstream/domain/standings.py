"""What the records of agents say of them: counts from ClickHouse become scored standings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from crewstream_agents.selection import AgentRecord, standing
from crewstream_agents.spec import Candidate


@dataclass(frozen=True, slots=True)
class Standing:
    """An agent's record at one kind of task, and how it stands among those that did the same.

    `task_type` is empty for what managers asked it for.
    """

    project_id: str
    crew: str
    task_type: str
    record: AgentRecord
    candidate: Candidate

    def row(self) -> dict[str, Any]:
        """As one flat JSON object, for Redis and for people."""
        score = {"score": self.candidate.score, "confidence": self.candidate.confidence}
        kind = {"project_id": self.project_id, "crew": self.crew, "task_type": self.task_type}
        return {**kind, **asdict(self.record), **score}

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Standing:
        """From what `row` gave."""
        names = AgentRecord.__dataclass_fields__
        record = AgentRecord(**{name: value for name, value in row.items() if name in names})
        candidate = Candidate(record.agent, row["score"], record.runs, row["confidence"])
        return cls(row["project_id"], row["crew"], row["task_type"], record, candidate)


def scored(rows: Iterable[Mapping[str, Any]]) -> Sequence[Standing]:
    """The standings from the rows of `standings.sql`, the best of each kind of task first."""
    kinds: dict[tuple[str, str, str], list[AgentRecord]] = {}
    for row in rows:
        kind = (row["project_id"], row["crew"], row["task_type"])
        kinds.setdefault(kind, []).append(_record(row))
    return [
        Standing(*kind, record, candidate)
        for kind, records in sorted(kinds.items())
        for record, candidate in _ranked(records)
    ]


def _ranked(records: Sequence[AgentRecord]) -> list[tuple[AgentRecord, Candidate]]:
    found = [(record, standing(record, records)) for record in records]
    return sorted(found, key=lambda each: (-each[1].score, each[0].agent))


def _record(row: Mapping[str, Any]) -> AgentRecord:
    return AgentRecord(
        agent=row["agent"],
        runs=int(row["runs"]),
        succeeded=int(row["succeeded"]),
        first_tries=int(row["first_tries"]),
        first_succeeded=int(row["first_succeeded"]),
        quality=float(row["quality"]),
        duration_ms=float(row["duration_ms"]),
        cost_usd=float(row["cost_usd"]),
    )
