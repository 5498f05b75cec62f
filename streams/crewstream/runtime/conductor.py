"""Hands records to the queues of Faust's agents and of its recovery, without waiting."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, cast

from faust.events import Event
from faust.transport import conductor
from faust.types import TP, ConsumerMessage
from typing_extensions import override

from crewstream.errors import Misconfigured
from crewstream.runtime.book import Record

if TYPE_CHECKING:
    from faust.tables.manager import TableManager

MOST_CHANGES = 4096
"""Changelog records waiting for Faust's recovery; more are left in Kafka."""


class Conductor(conductor.Conductor):
    """Knows the queue of each partition, and hands over without waiting.

    What is open is bounded by the consumer's windows, not by the size of a queue.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.channels: dict[TP, Collection[Any]] = {}

    @override
    def _build_handler(self, tp: TP, channels: Any) -> Any:
        self.channels[tp] = channels
        return super()._build_handler(tp, channels)

    def deliver_batch(self, tp: TP, records: list[Record], message: ConsumerMessage) -> None:
        """Hand one fetch of one partition to its agent. Raises Misconfigured unless it has one."""
        self._only_queue(tp).force_put_nowait(Event(self.app, None, records, None, message))

    def deliver_change(self, tp: TP, message: ConsumerMessage) -> None:
        """Hand one record of a changelog to Faust's recovery.

        Faust's own way waits for the flow, and could deliver, after a rebalance and out of turn,
        a record from before it; recovery would then skip those between.
        """
        event = Event(self.app, message.key, message.value, None, message)
        self._only_queue(tp).force_put_nowait(event)

    def changelogs_have_room(self) -> bool:
        return bool(cast("TableManager", self.app.tables).changelog_queue.qsize() < MOST_CHANGES)

    def _only_queue(self, tp: TP) -> Any:
        channels = self.channels[tp]
        if len(channels) != 1:
            raise Misconfigured(f"topic {tp.topic} needs exactly one agent, has {len(channels)}")
        return next(iter(channels)).queue
