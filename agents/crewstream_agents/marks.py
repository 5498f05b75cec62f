"""How good a crew's own code finds what a run has brought: `crewstream_agents.quality(score)`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_taken: ContextVar[Callable[[float], object] | None] = ContextVar("crewstream_marks", default=None)


def quality(score: float) -> None:
    """Judge what this run brings, 0 (useless) to 1 (could not be better), from any of its code.

    Of a guardrail, a callback, a tool. Of several scores the mean counts, in the record by which
    agents are chosen. Outside of a run nothing happens. Raises ValueError for another number.
    """
    if not 0.0 <= score <= 1.0:
        raise ValueError(f"a quality is between 0 and 1, not {score!r}")
    take = _taken.get()
    if take is not None:
        take(float(score))


@contextmanager
def taken_by(take: Callable[[float], object]) -> Iterator[None]:
    """What runs in here, in every thread and task that it starts, is judged to `take`."""
    token = _taken.set(take)
    try:
        yield
    finally:
        _taken.reset(token)
