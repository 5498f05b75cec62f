"""Waiting times that grow after each failure, with jitter."""

from __future__ import annotations

import random


class Backoff:
    """Exponential back-off with full jitter above a half, so that processes do not return in step.

    Source: M. Brooker, "Exponential Backoff And Jitter" (equal jitter).
    """

    def __init__(self, *, first_s: float, most_s: float) -> None:
        self._next_s, self._most_s = first_s, most_s

    def next_s(self) -> float:
        """Seconds to wait now; twice as many the next time."""
        now_s = self._next_s
        self._next_s = min(self._most_s, now_s * 2)
        return now_s * random.uniform(0.5, 1.0)  # noqa: S311  (not for secrets)
