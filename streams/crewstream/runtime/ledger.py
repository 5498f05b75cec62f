"""A Faust table written straight to its changelog, and kept locally once Kafka confirmed it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import faust
from faust.stores.base import Store as FaustStore
from faust.types import TP, EventT
from typing_extensions import override

from crewstream.runtime.rows import NOTHING, WARM_FOR_S, LocalRows

if TYPE_CHECKING:
    from crewstream.records import Headers
    from crewstream.runtime.application import Application

_log = logging.getLogger(__name__)


class Ledger(faust.Table[bytes, bytes]):
    """Rows by partition and key; the changelog topic is the caller's, and may be an output as well.

    `recovered` is called with each partition whose rows are complete after it was assigned anew,
    `changed` with each key that another owner wrote while we kept a partition's index, `lost`
    with each partition that went.
    """

    def __init__(self, app: Application, topic: str, rows: Callable[[], LocalRows]) -> None:
        self._rows = rows
        self._app = app
        self.recovered: list[Callable[[int], None]] = []
        self.changed: list[Callable[[int, bytes], None]] = []
        self.lost: list[Callable[[int], None]] = []
        super().__init__(
            app,
            name=topic,
            partitions=app.options.partitions,
            key_type=bytes,
            value_type=bytes,
            changelog_topic=app.raw_topic(topic, acks=False, allow_empty=True),
        )

    @override
    def _new_store(self) -> LedgerStore:
        return LedgerStore(self._app, self, self._rows)

    @property
    def _kept(self) -> LedgerStore:
        return cast("LedgerStore", self.data)

    def row(self, partition: int, key: bytes) -> bytes | None:
        """The row as last written here, confirmed or not."""
        return self._kept.row(partition, key)

    def keys_of(self, partition: int) -> Iterator[bytes]:
        """The keys of the confirmed rows of a partition."""
        return self._kept.keys_of(partition)

    def hold(self, partition: int, key: bytes, value: bytes | None, headers: Headers = ()) -> Write:
        """Change a row here (None deletes it); `send` must follow, in the same order."""
        write = Write(partition, key, value, headers)
        self._kept.under_way[partition, key] = write
        return write

    async def send(self, write: Write) -> asyncio.Future[Any]:
        """Write what is held to the changelog; the future is the record's delivery."""
        kept = self._kept
        delivery: asyncio.Future[Any] = await self._app.kafka_producer.send(
            self.name,
            write.value,
            key=write.key,
            partition=write.partition,
            headers=list(write.headers),
        )
        delivery.add_done_callback(lambda done: kept.delivered(write, done))
        return delivery


# One for each read and write: to make them anew was a twentieth of the coordinator's time.
_place = cache(TP)


class Write:
    """A row on its way to Kafka; compared by identity, for the same may be written twice."""

    __slots__ = ("headers", "key", "partition", "value")

    def __init__(self, partition: int, key: bytes, value: bytes | None, headers: Headers) -> None:
        self.partition, self.key, self.value, self.headers = partition, key, value, headers


class LedgerStore(FaustStore[bytes, bytes]):
    """What Faust's recovery needs of a store, over `LocalRows`."""

    def __init__(self, app: Application, ledger: Ledger, rows: Callable[[], LocalRows]) -> None:
        super().__init__("ledger://", app, ledger)
        self._app, self._ledger, self._topic = app, ledger, ledger.name
        self._open = rows
        self.under_way: dict[tuple[int, bytes], Write] = {}
        self._confirmed: dict[int, list[tuple[int, Write]]] = {}
        self._fresh: set[int] = set()

    @property
    def held(self) -> LocalRows:
        return self._open()

    # -- our side -----------------------------------------------------------------------------

    def row(self, partition: int, key: bytes) -> bytes | None:
        write = self.under_way.get((partition, key))
        return write.value if write is not None else self.held.get(self._tp(partition), key)

    def keys_of(self, partition: int) -> Iterator[bytes]:
        return self.held.keys(self._tp(partition))

    def delivered(self, write: Write, done: asyncio.Future[Any]) -> None:
        """Keep what Kafka confirmed; a failure is the caller's, who leaves the process."""
        if done.cancelled() or done.exception() is not None:
            return
        if not self._confirmed:
            asyncio.get_running_loop().call_soon(self._keep)  # all of one answer in one write
        self._confirmed.setdefault(write.partition, []).append((done.result().offset, write))

    def _keep(self) -> None:
        confirmed, self._confirmed = self._confirmed, {}
        for partition, writes in confirmed.items():
            tp = self._tp(partition)
            position = self.held.position(tp)
            for offset, write in writes:
                if offset == position + 1:
                    position = offset
                # else another wrote between: the position stays, and recovery reads from there
                if self.under_way.get((partition, write.key)) is write:
                    del self.under_way[partition, write.key]
            self.held.write(tp, {write.key: write.value for _, write in writes}, position)

    def _tp(self, partition: int) -> TP:
        return _place(self._topic, partition)

    # -- Faust's side -------------------------------------------------------------------------

    @override
    def persisted_offset(self, tp: TP) -> int | None:
        position = self.held.position(tp)
        return None if position == NOTHING else position

    @override
    def apply_changelog_batch(
        self, batch: Iterable[EventT[Any]], to_key: Callable[..., Any], to_value: Callable[..., Any]
    ) -> None:
        """Rows read from the changelog. Faust may hand over records of another table: not ours."""
        found: dict[TP, list[Any]] = {}
        for event in batch:
            if event.message.topic == self._topic:
                found.setdefault(event.message.tp, []).append(event.message)
        for tp, messages in found.items():
            position = self.held.position(tp)
            rows = {m.key: m.value for m in messages if m.offset > position}
            if rows:
                self.held.write(tp, rows, messages[-1].offset)
                self._tell_changed(tp.partition, rows)

    def _tell_changed(self, partition: int, keys: Iterable[bytes]) -> None:
        if partition not in self._fresh:
            for callback in self._ledger.changed:
                for key in keys:
                    callback(partition, key)

    @override
    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Called before recovery asks for the positions."""
        self._keep()
        for tp in self._mine(revoked | newly_assigned):
            self._fresh.discard(tp.partition)
            for callback in self._ledger.lost:
                callback(tp.partition)
        fresh = self._mine(newly_assigned)
        self._fresh.update(tp.partition for tp in fresh)
        held = [tp for tp in self._mine(assigned) if self.held.position(tp) != NOTHING]
        ends = await self._app.consumer.highwaters(*held) if held else {}
        for tp in held:
            if self.held.position(tp) >= ends[tp]:
                self._wipe(tp, f"the changelog ends at {ends[tp]}, before the rows held")
            elif tp in fresh and self.held.age_s(tp) > WARM_FOR_S:
                self._wipe(tp, "the rows held are too old")

    def _mine(self, tps: Iterable[TP]) -> set[TP]:
        return {tp for tp in tps if tp.topic == self._topic}

    def _wipe(self, tp: TP, why: str) -> None:
        _log.warning("%s[%d]: %s: reading all anew", *tp, why)
        self.held.wipe(tp)
        self._fresh.add(tp.partition)
        # Recovery remembers how far it read a partition that we keep.
        self._app.kafka_consumer.tables.recovery.active_offsets.pop(tp, None)

    @override
    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        recovery = self._app.kafka_consumer.tables.recovery
        recovery.flush_buffers()  # so that all that was seen is here
        for tp in self._mine(active_tps):
            seen = recovery.active_offsets.get(tp)
            if seen is not None and seen > self.held.position(tp):
                self.held.write(tp, {}, seen)  # read to there; compaction left no record
        fresh, self._fresh = self._fresh, set()
        for partition in fresh:
            for callback in self._ledger.recovered:
                callback(partition)

    @override
    def reset_state(self) -> None:
        """Faust's `reset` command: there is none here."""

    @override
    async def backup_partition(self, *_: Any, **__: Any) -> None:
        """The changelog is the backup."""

    @override
    def restore_backup(self, *_: Any, **__: Any) -> None:
        """The changelog is the backup."""

    @override
    async def on_stop(self) -> None:
        self._keep()
