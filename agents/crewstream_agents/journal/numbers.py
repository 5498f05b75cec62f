"""Which number a call has among the calls that are like it."""

from __future__ import annotations

import heapq
import threading
from collections import defaultdict


class Numbers:
    """Taken when a call starts, so parallel calls need no order; given back when it fails."""

    def __init__(self) -> None:
        self._next: dict[str, int] = defaultdict(int)
        self._free: dict[str, list[int]] = defaultdict(list)
        self._lock = threading.Lock()

    def take(self, key: str) -> int:
        """The lowest free number of this key."""
        with self._lock:
            if self._free[key]:
                return heapq.heappop(self._free[key])
            self._next[key] += 1
            return self._next[key] - 1

    def give_back(self, key: str, number: int) -> None:
        """The next call of this key has this number again."""
        with self._lock:
            heapq.heappush(self._free[key], number)
