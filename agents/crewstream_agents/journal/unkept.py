"""The hold of a run that has no journal: its calls are measured and limited, and forgotten."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

from crewstream_agents.journal.budget import Charge
from crewstream_agents.journal.store import Refused, Written


class Unkept:
    """A `replay.Lease` that nobody can take over, and that nothing is read from."""

    epoch = 0
    limited = False

    def __init__(self) -> None:
        self._numbers = count(1)

    def acquire(self) -> Mapping[str, bytes]:
        """Nothing was there."""
        return {}

    def put(self, field: str, data: bytes, charge: Charge | None = None) -> Written:
        """Count a record."""
        del field, data, charge
        return Written(next(self._numbers))

    def reserve(self, _: Charge, /) -> Refused | None:
        """Everything fits."""
        return None

    def release(self, reservation: str, *, lost: bool) -> None:
        """Nothing was held."""
