"""A journal without Redis: what a run writes lies in a dictionary."""

from __future__ import annotations

from collections.abc import Mapping

from crewstream_agents.cancellation import StopFlag
from crewstream_agents.journal.budget import Charge
from crewstream_agents.journal.replay import Journal
from crewstream_agents.journal.store import Refused, Written
from crewstream_agents.measure import Recorder
from crewstream_agents.spec import CrewTask

TASK = CrewTask("w/t/1", "w", "t", 1, "acme", "p", "c", "", journal="w/t/1")


class MemoryLease:
    """A journal in a dictionary without accounts; `away` is raised by the next write."""

    def __init__(self, fields: Mapping[str, bytes] | None = None) -> None:
        self.epoch, self.limited = 1, False
        self.fields = dict(fields or {})
        self.away: Exception | None = None

    def acquire(self) -> Mapping[str, bytes]:
        return self.fields

    def put(self, field: str, data: bytes, charge: Charge | None = None) -> Written:
        del charge
        if self.away is not None:
            raise self.away
        sequence = int(self.fields.get("@seq", b"0")) + 1
        self.fields |= {"@seq": b"%d" % sequence, field: b"%d:1:%s" % (sequence, data)}
        return Written(sequence)

    def reserve(self, _: Charge, /) -> Refused | None:
        return None

    def release(self, reservation: str, *, lost: bool) -> None: ...


def journal_on(lease: MemoryLease) -> Journal:
    journal = Journal(TASK, lease, StopFlag(), Recorder())
    journal.open()
    return journal
