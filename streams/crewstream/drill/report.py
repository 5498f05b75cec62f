"""What a drill found, and whether it may be called good."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from crewstream.drill.calls import CallCounts
from crewstream.drill.counting import Measurements, Rows, WorkflowCounts
from crewstream.drill.plan import Kind
from crewstream.drill.recovery import Recovery
from crewstream.drill.striking import Struck


@dataclass(frozen=True, slots=True)
class Effects:
    """What the tool with an effect outside did: entries posted, and those posted again."""

    posted: int
    repeated: Sequence[str]
    keys_changed: Sequence[str]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the report. `wanted`: what the figure has to be; None: it only informs."""

    about: str
    figure: int
    wanted: int | None = None
    names: Sequence[str] = ()

    @property
    def key(self) -> str:
        """What the figure is called in JSON."""
        return re.sub(r"\W+", "_", self.about).lower()

    @property
    def good(self) -> bool:
        return self.wanted is None or self.figure == self.wanted


@dataclass(frozen=True, slots=True)
class Report:
    """All that was counted. `faults` are in the order in which they were injected."""

    seed: int
    asked: int
    workflows: WorkflowCounts
    calls: CallCounts
    measured: Measurements
    effects: Effects
    rows_in_topics: Rows
    rows_in_clickhouse: Rows
    letters_expected: int
    recovery: Mapping[Kind, Recovery]
    faults: Sequence[Struck]
    took_s: float

    @property
    def good(self) -> bool:
        """Nothing was lost, duplicated or paid twice."""
        return all(line.good for line in self.lines())

    def lines(self) -> Iterator[Line]:
        """The figures, in the order in which they are shown."""
        flows, calls, effects = self.workflows, self.calls, self.effects
        yield Line("workflows accepted", flows.accepted, self.asked)
        yield Line("ended", flows.ended, self.asked)
        yield Line("lost", len(flows.lost), 0, flows.lost)
        yield Line("ended twice", len(flows.ended_twice), 0, flows.ended_twice)
        yield Line("not completed", len(flows.unsuccessful), 0, flows.unsuccessful)
        yield Line("task results applied twice", len(flows.applied_twice), 0, flows.applied_twice)
        yield Line("task results sent again and dropped", flows.results_repeated)
        yield Line("dead letters", flows.letters, self.letters_expected)
        yield Line("model calls answered", calls.made)
        yield Line("of distinct content", calls.distinct)
        yield Line("repeated, cut off in flight", calls.repeated_in_flight)
        yield Line("paid twice", len(calls.paid_twice), 0, calls.paid_twice)
        yield Line("refused with 429", calls.refused)
        yield Line("calls measured as paid", self.measured.paid, calls.distinct)
        yield Line("tokens measured as paid", self.measured.tokens, calls.tokens_distinct)
        yield Line("calls answered from the journal", self.measured.replayed)
        yield Line("tool effects", effects.posted)
        yield Line("tool effects repeated", len(effects.repeated), 0, effects.repeated)
        yield Line("idempotency keys that changed", len(effects.keys_changed), 0)
        yield from self._rows()

    def _rows(self) -> Iterator[Line]:
        there, wanted = asdict(self.rows_in_clickhouse), asdict(self.rows_in_topics)
        for table, figure in there.items():
            yield Line(f"rows of {table} in ClickHouse", figure, wanted[table])

    def document(self) -> dict[str, Any]:
        """The report as plain values, for JSON."""
        return {
            "good": self.good,
            "seed": self.seed,
            "took_s": round(self.took_s, 1),
            "figures": {
                line.key: {"figure": line.figure, "wanted": line.wanted, "names": line.names}
                for line in self.lines()
            },
            "recovery": {kind.value: asdict(found) for kind, found in self.recovery.items()},
            "faults": [asdict(fault) for fault in self.faults],
        }
