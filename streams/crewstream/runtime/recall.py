"""What was said already: the last records of output topics, so that a crash repeats none of them.

Outputs go out before their rows. A process that is killed in between leaves an output whose event
comes again; who takes the partition over looks here before it says the same once more. Late writes
of the one before cannot come: they are fenced off (see `fence`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition

from crewstream.contracts.connection import KafkaConnection
from crewstream.records import Headers

# More than what can be open in one partition: so far back may an event lie that comes again.
LAST_RECORDS = 1024
Said = frozenset[tuple[str, bytes]]


def name_of(headers: Headers) -> bytes:
    """The CloudEvents id of a record: the same event always has the same."""
    return next((value for name, value in headers if name == "ce_id"), b"")


class Recall:
    """Reads the ends of `topics`, which have as many partitions as the rows."""

    def __init__(self, connection: KafkaConnection, topics: Iterable[str]) -> None:
        self._connection, self.topics = connection, frozenset(topics)

    async def said(self, partition: int) -> Said:
        """Topic and id of the last records in this partition of each topic. Raises KafkaError."""
        tps = [TopicPartition(topic, partition) for topic in sorted(self.topics)]
        consumer = AIOKafkaConsumer(enable_auto_commit=False, **self._connection.arguments())
        await consumer.start()
        try:
            consumer.assign(tps)
            return await _read(consumer, tps)
        finally:
            await consumer.stop()


async def _read(consumer: AIOKafkaConsumer, tps: Sequence[TopicPartition]) -> Said:
    starts, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
    for tp in tps:
        consumer.seek(tp, max(starts[tp], ends[tp] - LAST_RECORDS))
    said: set[tuple[str, bytes]] = set()
    while any([await consumer.position(tp) < ends[tp] for tp in tps]):
        for records in (await consumer.getmany(timeout_ms=200)).values():
            said.update((record.topic, name_of(record.headers)) for record in records)
    return frozenset(said)
