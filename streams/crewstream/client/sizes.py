"""How large a record its topic takes, told before it is sent."""

from __future__ import annotations

from collections.abc import Iterable

from crewstream.contracts.topics import Topic
from crewstream.errors import TooLarge

# What a topic takes that does not say, and what framing, key and headers need of it.
KAFKA_LIMIT, OVERHEAD_BYTES = 1_048_588, 4096


def largest_record(topics: Iterable[Topic]) -> int:
    """The bytes of the largest record that any of the topics takes."""
    return max(map(_limit, topics))


def check(topic: Topic, what: str, value: bytes) -> None:
    """Raises TooLarge when the topic does not take this value."""
    limit = _limit(topic) - OVERHEAD_BYTES
    if len(value) > limit:
        raise TooLarge(
            f"{what} is {len(value)} bytes, {topic.name} takes {limit}; "
            "put what is large elsewhere and send where it is"
        )


def _limit(topic: Topic) -> int:
    return int(topic.config.get("max.message.bytes", KAFKA_LIMIT))
