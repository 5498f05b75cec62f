"""How long runs usually take, and how long the work that waits would keep a worker busy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

FIRST_GUESS_S = 1.0
"""What a run is taken to last before one of its project has ended."""
FORGETTING = 0.1
"""Weight of the last run in what the next one is taken to last."""

Kind = tuple[str, str]
"""Project and crew."""


class Usual:
    """How long runs of each crew last: exponentially weighted, the latest ones count most."""

    def __init__(self) -> None:
        self._s: dict[Kind, float] = {}

    def seen(self, project_id: str, crew: str, ran_s: float) -> None:
        """A run has ended."""
        for kind in {(project_id, crew), (project_id, "")}:
            before = self._s.get(kind, ran_s)
            self._s[kind] = before + FORGETTING * (ran_s - before)

    def of(self, project_id: str, crew: str) -> float:
        """Seconds that a run lasts: as its crew's, else as its project's, else a guess."""
        own = self._s.get((project_id, crew))
        return self._s.get((project_id, ""), FIRST_GUESS_S) if own is None else own


def backlog_s(runnable: Mapping[Kind, int], usual: Usual, slots: int) -> Mapping[str, float]:
    """Seconds until all that is runnable now had run, by project.

    That is work times its usual duration, over slots: Little's law read backwards. It counts what
    more slots would shorten, and nothing else, which makes it the figure to scale by: a queue of
    short runs is no reason for more workers, and a few long ones are.
    """
    found: defaultdict[str, float] = defaultdict(float)
    for (project_id, crew), count in runnable.items():
        found[project_id] += count * usual.of(project_id, crew) / max(1, slots)
    return found
