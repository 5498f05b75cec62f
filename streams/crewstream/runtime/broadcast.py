"""A topic that every process reads whole, with no group: what was said lately, then what comes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from typing_extensions import override

from crewstream.contracts.connection import KafkaConnection
from crewstream.runtime.compacted import CompactedTopic


class Broadcast(CompactedTopic):
    """Calls `told(key, value)` for each record of the last `back_s` seconds, then for each new one.

    Used as a CompactedTopic is: once entered, all that was there has been seen.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        topic: str,
        partitions: int,
        told: Callable[[bytes, bytes], None],
        *,
        back_s: float,
    ) -> None:
        super().__init__(connection, topic, partitions, told)
        self._back_s = back_s

    @override
    async def _begin(self, consumer: AIOKafkaConsumer, tps: Sequence[TopicPartition]) -> None:
        since_ms = int((time.time() - self._back_s) * 1000)
        # The ends first: what comes between the two questions is behind them, and not skipped.
        ends = await consumer.end_offsets(tps)
        found = await consumer.offsets_for_times(dict.fromkeys(tps, since_ms))
        for tp in tps:
            # None: nothing is as young as that.
            consumer.seek(tp, ends[tp] if found[tp] is None else found[tp].offset)
