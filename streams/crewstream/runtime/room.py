"""How much of a process's window each partition may fill."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crewstream.runtime.book import Book
    from crewstream.runtime.options import RuntimeOptions

HOG = 2
"""How many times what is left for all one partition may hold."""


@dataclass(frozen=True, slots=True)
class Room:
    """What is left for all partitions, and the most that one of them may hold to take more.

    A partition may hold twice what is left (Choudhury, Hahne: "Dynamic queue length thresholds for
    shared-memory packet switches", IEEE/ACM ToN 6(2), 1998). So a single long one gets two thirds
    of the window, many of them together nearly all of it, and there is always something left for
    one that was empty.
    """

    records: int
    most: int
    most_bytes: int

    def takes(self, book: Book) -> bool:
        """Whether this partition may take more."""
        return len(book.open) < self.most and book.open_bytes < self.most_bytes


def room(options: RuntimeOptions, books: Collection[Book]) -> Room:
    """The room beside what is open now."""
    records = options.total_window - sum(len(book.open) for book in books)
    size = options.total_bytes - sum(book.open_bytes for book in books)
    return Room(records, min(options.window, HOG * records), HOG * size)
