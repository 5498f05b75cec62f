"""Leaving the process at once, with an exit code that says why."""

from __future__ import annotations

import logging
import os
from typing import NoReturn

STATE_AHEAD = 70
"""Memory may be ahead of Kafka; a restart recovers from the changelog."""
STALLED = 75
"""The process lived but did not consume."""

_log = logging.getLogger(__name__)


def leave(code: int, why: str, *, cause: BaseException | None = None) -> NoReturn:
    """End the process now: no clean-up may write or commit what memory holds."""
    _log.critical("leaving with exit code %d: %s", code, why, exc_info=cause)
    logging.shutdown()
    os._exit(code)
