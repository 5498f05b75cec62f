"""The servers that integration tests get from their fixtures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Brokers:
    """A running Kafka."""

    bootstrap: str
