"""Ends a table recovery whose changelog ends without a record.

Faust waits for the record just before the end of each changelog. When compaction has removed it
(tombstones, after their retention) or a transaction marker stands there, it waits for ever
(faust-streaming issue 597), although the consumer has read to the end.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from faust.types import TP

if TYPE_CHECKING:
    from crewstream.runtime.member import Member

SETTLED_S = 0.5
"""A change taken from the queue is counted within a few turns of the loop; this is ample."""

_log = logging.getLogger(__name__)


class TailSkipper:
    """Looks, between takes, for changelogs that are read to their end and cannot say so."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._since: dict[TP, float] = {}

    async def look(self) -> None:
        """Call when a fetch brought nothing: then no change is between Kafka and the queue."""
        tables = self._member.tables
        recovery = tables.recovery
        if not tables.changelog_queue.empty():
            self._since.clear()
            return
        now = time.monotonic()
        for tp, last in list(recovery.active_highwaters.items()):
            seen = recovery.active_offsets.get(tp)
            if seen is None or seen >= last or not await self._read_to(tp, last):
                self._since.pop(tp, None)
            elif now - self._since.setdefault(tp, now) > SETTLED_S:
                _log.info("%s[%d]: no record between %d and its end", *tp, seen)
                recovery.active_offsets[tp] = last

    async def _read_to(self, tp: TP, last: int) -> bool:
        if tp not in self._member.assignment():
            return False
        position = await self._member.position(tp)
        return position is not None and position > last
