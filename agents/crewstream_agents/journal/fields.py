"""The fields of a journal as they were found: records, marks, alerts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from crewstream_agents.journal import budget
from crewstream_agents.journal.record import LLM, Record
from crewstream_agents.spec import BudgetAlert


@dataclass(slots=True)
class Found:
    """What earlier runs have written. `reported` is the last record that an outcome has told of."""

    records: dict[str, tuple[int, Record]] = field(default_factory=dict)
    starts: dict[str, int] = field(default_factory=dict)
    """How often an external call was started."""
    cleared: dict[str, int] = field(default_factory=dict)
    """Up to which start it certainly had no effect."""
    alerts: dict[str, tuple[int, BudgetAlert]] = field(default_factory=dict)
    written: int = 0
    reported: int = 0

    def answers(self) -> Mapping[str, Record]:
        """The records that answer calls, by field.

        Not a failure that no model was told of: there the tool is tried again.
        """
        of_models = (seq for seq, record in self.records.values() if record.kind == LLM)
        last = max(of_models, default=0)
        return {
            name: record
            for name, (sequence, record) in self.records.items()
            if not (record.is_error and sequence > last)
        }


def read(fields: Mapping[str, bytes]) -> Found:
    """Make sense of all fields of a journal."""
    found = Found(
        written=int(fields.get("@seq", b"0")), reported=int(fields.get("@reported", b"0"))
    )
    for name, value in fields.items():
        kind, _, rest = name.partition(":")
        if kind == "r":
            sequence, _, data = value.split(b":", 2)
            found.records[name] = int(sequence), Record.load(data)
        elif kind in {"s", "n"}:
            call, _, number = rest.rpartition(":")
            marks = found.starts if kind == "s" else found.cleared
            marks[call] = max(marks.get(call, 0), int(number) + 1)
        elif kind == "a":
            found.alerts[name] = budget.soft_alert(name, value)
    return found
