"""What was delivered of a partition and what of it is still open: the commit rule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crewstream.records import Inbound

if TYPE_CHECKING:
    from aiokafka.structs import ConsumerRecord


class Book:
    """One partition during one assignment.

    A book never outlives its assignment and a record carries the book that it came from, so a
    late acknowledgement cannot move the offsets of a later assignment.
    """

    __slots__ = ("committed", "doubt", "next", "open", "open_bytes")

    def __init__(self, start: int, committed: int | None = None) -> None:
        self.next = start
        self.committed = committed
        self.open: dict[int, int] = {}
        """Sizes in bytes, in order of delivery, hence of offset."""
        self.open_bytes = 0
        self.doubt: int | None = None
        """An offset that came too early and is read once more."""

    def deliver(self, offset: int, size: int = 0) -> None:
        """A record of `size` bytes is in our hands."""
        self.next = offset + 1
        self.open[offset] = size
        self.open_bytes += size

    def close(self, offset: int) -> None:
        """A record is done; one that is done already changes nothing."""
        self.open_bytes -= self.open.pop(offset, 0)

    def committable(self) -> int:
        """The oldest delivered and unacknowledged offset, else the next one expected."""
        return next(iter(self.open), self.next)


class Record:
    """A record in our hands: `ack` it when its effects are safe; unacknowledged it comes again."""

    __slots__ = ("book", "generation", "inbound")

    def __init__(self, inbound: Inbound, book: Book, generation: int) -> None:
        self.inbound, self.book, self.generation = inbound, book, generation

    @property
    def size(self) -> int:
        """Bytes of key, value and headers."""
        one = self.inbound
        headers = sum(len(name) + len(value or b"") for name, value in one.headers)
        return len(one.key or b"") + len(one.value or b"") + headers

    def ack(self) -> None:
        self.book.close(self.inbound.offset)


def inbound(record: ConsumerRecord) -> Inbound:
    """A record of aiokafka in our own words."""
    return Inbound(
        record.topic,
        record.partition,
        record.offset,
        record.key,
        record.value,
        record.headers,
        record.timestamp,
    )
