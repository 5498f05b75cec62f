"""Records as they come from Kafka and as they go there, without any client's types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from crewstream.contracts import envelope
from crewstream.errors import CrewstreamError, Undecodable

Headers = Sequence[tuple[str, bytes]]

# A value may be packed when it comes, and be many times as large as its topic takes.
MOST_LETTER_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Inbound:
    """A record as it came from Kafka; `timestamp_ms` is the broker's or the producer's, UTC."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int

    @property
    def at(self) -> datetime:
        """When the record was written: the only clock a pure processor has, so replays agree."""
        return datetime.fromtimestamp(self.timestamp_ms / 1000, UTC)

    @property
    def position(self) -> str:
        """Where the record stands, for people."""
        return f"{self.topic}[{self.partition}]@{self.offset}"

    def dead_letter(self, topic: str, error: CrewstreamError) -> Outbound:
        """The record as it came; its headers say where it was and why it cannot be used."""
        headers = envelope.dead_letter(
            self.headers,
            error,
            topic=self.topic,
            partition=self.partition,
            offset=self.offset,
            timestamp_ms=self.timestamp_ms,
            schema_id=error.schema_id if isinstance(error, Undecodable) else None,
            failed_at=datetime.now(UTC),
        )
        value = self.value
        if value is None and self.key is None:
            value = b""  # what has neither cannot be sent
        if value is not None and len(value) > MOST_LETTER_BYTES:
            headers.append(("x-dlq-truncated", str(len(value)).encode()))
            value = value[:MOST_LETTER_BYTES]
        return Outbound(topic, self.key, value, headers)


@dataclass(frozen=True, slots=True)
class Outbound:
    """A record to send; without `partition` the key decides (murmur2). `value` None is a tombstone.

    `due_at` goes with a row of the coordinator's table: when its next timer is due.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None
    due_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """Rows for one ClickHouse table: raw Avro datums of one writer schema from one partition."""

    table: str
    topic: str
    partition: int
    schema_id: int
    records: Sequence[Inbound] = field(repr=False)
