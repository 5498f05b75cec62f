"""A heap whose items may leave, or change their rank."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)
Rank = tuple[float, ...]
"""The least goes first."""


class Ranked(Generic[T]):
    """Items by rank, the least first; what is left of those that left is skipped."""

    __slots__ = ("_entries", "_heap", "_numbers")

    def __init__(self) -> None:
        self._heap: list[tuple[Rank, int, T]] = []
        self._entries: dict[T, tuple[Rank, int, T]] = {}
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, item: T, rank: Rank) -> None:
        """Add an item, or give it another rank; of equal ranks the first put goes first."""
        if (known := self._entries.get(item)) is not None and known[0] == rank:
            return
        entry = self._entries[item] = (rank, next(self._numbers), item)
        heapq.heappush(self._heap, entry)
        if len(self._heap) > 2 * len(self._entries) + 8:
            self._heap = sorted(self._entries.values())

    def drop(self, item: T) -> bool:
        """Whether it was there."""
        return self._entries.pop(item, None) is not None

    def first(self) -> tuple[Rank, T] | None:
        """The item of the least rank, which stays."""
        while self._heap:
            rank, number, item = self._heap[0]
            entry = self._entries.get(item)
            if entry is not None and entry[1] == number:
                return rank, item
            heapq.heappop(self._heap)
        return None

    def pop(self) -> tuple[Rank, T] | None:
        """The item of the least rank, which leaves."""
        if found := self.first():
            heapq.heappop(self._heap)
            del self._entries[found[1]]
        return found
