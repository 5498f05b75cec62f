"""Something that is away: told once when it goes, and once when it is back."""

from __future__ import annotations

import logging
import time

_log = logging.getLogger(__name__)


class Outage:
    """`what` does not work for a while. Who waits says so as often as it likes."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._since_s: float | None = None
        self.why: str | None = None
        """Why it does not work; None while it does."""

    def goes_on(self, why: object) -> None:
        """It does not work now."""
        self.why = str(why)
        if self._since_s is None:
            self._since_s = time.monotonic()
            _log.warning("%s: away, waiting: %s", self._what, why)

    def is_over(self) -> None:
        """It works now."""
        self.why = None
        if self._since_s is not None:
            away_s = time.monotonic() - self._since_s
            _log.warning("%s: back after %.1f s", self._what, away_s)
            self._since_s = None
