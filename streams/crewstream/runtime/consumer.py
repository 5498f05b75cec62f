"""Takes records, delivers them, commits them: never past an open one, never without delivery.

Three steps contain no `await`, and that is all the safety there is:

take     `getmany` hands over records and moves the position in one step, straight into `pump`,
         where it is decided at once whether they are delivered or undone (sought back).
deliver  offset check, entry in the partition's `Book` and hand-over to the agent's queue.
arm      the seek to the committed offsets and the new books. Nothing is taken from a partition that
         is not armed, and it is armed only when Faust resumes the flow, having cleared all queues.

Stock Faust takes in a second thread: there a take forgotten at a rebalance swallows its records.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from aiokafka import TopicPartition
from aiokafka.errors import ConsumerStoppedError, IllegalStateError, KafkaError
from aiokafka.structs import ConsumerRecord, OffsetAndMetadata
from faust.types import TP, ConsumerMessage, Message
from typing_extensions import override

from crewstream.runtime.book import Book, Record, inbound
from crewstream.runtime.leave import STATE_AHEAD, leave
from crewstream.runtime.member import Member
from crewstream.runtime.outage import Outage
from crewstream.runtime.recovery import TailSkipper
from crewstream.runtime.room import Room, room

if TYPE_CHECKING:
    from mode import Service

    from crewstream.runtime.application import Application
    from crewstream.runtime.conductor import Conductor

POLL_MS = 20
COMMIT_TIMEOUT_S = 10.0
_log = logging.getLogger(__name__)


class Consumer(Member):
    """The delivery rules on top of a group member; `counts` tells how often each had to act."""

    app: Application

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.books: dict[TP, Book] = {}
        self.sought: dict[TP, Book] | None = None
        """Armed at the next resume_flow."""
        self.epoch = 0
        """Changes at each revoke and at each assignment."""
        self.generation = 0
        """Changes at each assignment."""
        self.lease_s = 0.0
        """When the last request that proved our membership was sent (monotonic)."""
        self.counts: Counter[str] = Counter()
        self.outage = Outage("commits to Kafka")
        self.commit_lock = asyncio.Lock()
        self.tails = TailSkipper(self)

    @property
    def conductor(self) -> Conductor:
        return cast("Conductor", self.app.topics)

    def behind(self) -> Mapping[str, int]:
        """By topic, how many records of our partitions are not done, as of the last fetch."""
        found: Counter[str] = Counter()
        for tp, book in self.books.items():
            end: int | None = self.ensure().highwater(TopicPartition(*tp))
            found[tp.topic] += max(0, (end or 0) - book.committable())
        return found

    @override
    async def on_stop(self) -> None:
        self.stop_flow()
        if self.kafka is not None:
            await self.force_commit()
            await self.kafka.stop()

    # -- take ---------------------------------------------------------------------------------

    def takeable(self) -> tuple[list[TP], int]:
        """Partitions to take from now, and how many records."""
        options, left = self.transport.options, room(self.transport.options, self.books.values())
        tps = [tp for tp in self._active_partitions if self._takes(tp, left)]
        return tps, max(1, min(left.records, options.batch_records))

    def _takes(self, tp: TP, left: Room) -> bool:
        book = self.books.get(tp)
        if book is not None:
            return left.takes(book)
        return self._is_changelog_tp(tp) and self.conductor.changelogs_have_room()

    async def pump(self, service: Service) -> None:
        """Take and deliver until `service` stops."""
        while not (self.should_stop or service.should_stop):
            tps, limit = self.takeable() if self.flow_active else ([], 0)
            if not tps:
                await (self._heal() if self._unarmed() else asyncio.sleep(0.005))
                continue
            try:
                taken = await self.ensure().getmany(
                    *(TopicPartition(*tp) for tp in tps), timeout_ms=POLL_MS, max_records=limit
                )
            except ConsumerStoppedError:
                return
            except KafkaError as exc:
                await self._fetch_failed(exc)
                continue
            # No await between the take inside getmany and the end of this loop.
            for tp, records in taken.items():
                self._deliver_or_undo(TP(*tp), records)
            if not taken and self.app.in_recovery:
                await self.tails.look()

    async def _fetch_failed(self, exc: KafkaError) -> None:
        if not exc.retriable or self.app.in_recovery:
            raise exc
        _log.warning("fetch: %r", exc)
        for tp, book in self.books.items():
            self._undo(tp, book.next)  # the error may have come after records of other partitions
        await asyncio.sleep(0.1)

    def _undo(self, tp: TP, offset: int) -> None:
        with contextlib.suppress(IllegalStateError):  # not ours any more
            self.ensure().seek(TopicPartition(*tp), offset)

    def _unarmed(self) -> bool:
        """Recovery is over, but its last step, the seek, failed or ran into Faust's time limit."""
        busy = self.books or self.app.rebalancing or self.app.in_recovery or not self.flow_active
        return not busy and not all(map(self._is_changelog_tp, self._active_partitions))

    async def _heal(self) -> None:
        self.counts["healed"] += 1
        _log.warning("partitions without a position: seeking again")
        try:
            await self.perform_seek()
        except KafkaError as exc:
            _log.warning("seek: %r", exc)
            await asyncio.sleep(0.5)
        if self._unarmed():
            self.resume_flow()

    # -- deliver ------------------------------------------------------------------------------

    def _deliver_or_undo(self, tp: TP, records: list[ConsumerRecord]) -> None:
        changelog = self._is_changelog_tp(tp)
        armed = changelog or tp in self.books
        if not (self.flow_active and tp in self._active_partitions and armed):
            self._undo(tp, records[0].offset)
            self.counts["undone"] += len(records)
        elif changelog:
            for record in records:
                self.conductor.deliver_change(tp, self._to_message(tp, record))
        else:
            self._deliver(tp, records)

    def _deliver(self, tp: TP, records: list[ConsumerRecord]) -> None:
        book, batch = self.books[tp], []
        self.counts["taken"] += len(records)
        for record in records:
            if record.offset != book.next:
                if (other := self._out_of_turn(tp, book, record.offset)) is None:
                    break
                book = other
            taken = Record(inbound(record), book, self.generation)
            book.deliver(record.offset, taken.size)
            batch.append(taken)
        if batch:
            message = self._to_message(tp, records[-1])
            self.conductor.deliver_batch(tp, batch, message)

    def _out_of_turn(self, tp: TP, book: Book, offset: int) -> Book | None:
        """The one place that would notice a swallowed record; None: do not deliver."""
        if offset < book.next:
            self.counts["late"] += 1
            _log.warning("%s[%s]: log was cut, %s to %s: starting again", *tp, book.next, offset)
            self.books[tp] = Book(offset)
            return self.books[tp]
        if book.doubt == offset:
            self.counts["holes"] += 1  # still there when read again: a transaction marker
            return book
        book.doubt = offset
        self.counts["early"] += 1
        _log.warning("%s[%s]: expected %s, got %s: reading again", *tp, book.next, offset)
        self._undo(tp, book.next)
        return None

    @override
    def _to_message(self, tp: TP, record: ConsumerRecord) -> ConsumerMessage:
        return ConsumerMessage(
            record.topic, record.partition, record.offset, record.timestamp / 1000.0,
            record.timestamp_type, record.headers, record.key, record.value, record.checksum,
            record.serialized_key_size, record.serialized_value_size, tp,
            generation_id=self.generation,
        )  # fmt: skip

    @override
    def ack(self, message: Message) -> bool:
        """Streams acknowledge what they skip in a rebalance; only `Record.ack` counts."""
        return False

    # -- commit -------------------------------------------------------------------------------

    @override
    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Commit what moved; when nothing did, one partition again, which proves membership."""
        async with self.commit_lock:
            books = dict(self.books)
            moved = {tp: at for tp, b in books.items() if (at := b.committable()) != b.committed}
            offsets = moved or {tp: b.committable() for tp, b in list(books.items())[:1]}
            if not offsets or not await self._commit(offsets):
                return False
            for tp, offset in offsets.items():
                books[tp].committed = offset
            return True

    @override
    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        sent_s = time.monotonic()
        what = {TopicPartition(*tp): OffsetAndMetadata(at, "") for tp, at in offsets.items()}
        try:
            await asyncio.wait_for(self.ensure().commit(what), COMMIT_TIMEOUT_S)
        except (KafkaError, TimeoutError) as exc:
            self.counts["commit_failures"] += 1
            self.outage.goes_on(repr(exc))
            return False
        self.outage.is_over()
        self.lease_s = max(self.lease_s, sent_s)
        return True

    def lease_valid(self) -> bool:
        """Nobody else can own our partitions: membership was proved within this session."""
        return time.monotonic() - self.lease_s < 0.8 * self.transport.options.session_timeout_s

    # -- rebalance ----------------------------------------------------------------------------

    @override
    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        try:
            for hook in self.app.before_revoke:
                await asyncio.wait_for(hook(), self.transport.options.settle_timeout_s)
        except TimeoutError:
            leave(STATE_AHEAD, "what was begun could not be settled before a revoke")
        except Exception as exc:  # noqa: BLE001  (aiokafka would only log it)
            await self.crash(exc)
        await self.force_commit()
        self.disarm()
        await super().on_partitions_revoked(revoked)

    def disarm(self) -> None:
        self.books, self.sought, self.epoch = {}, None, self.epoch + 1

    def begin_generation(self) -> int:
        """A new assignment: the number that its records carry."""
        self.disarm()
        self.generation += 1
        self.app.consumer_generation_id = self.generation
        return self.generation

    def working(self, record: Record) -> bool:
        """Whether work on this record may begin: not once a rebalance began, nor from before."""
        return record.generation == self.generation and self.flow_active

    @override
    async def perform_seek(self) -> None:
        """Called by recovery as its last step before it resumes the flow."""
        kafka, epoch = self.ensure(), self.epoch
        tps = [TopicPartition(*tp) for tp in self.assignment() if not self._is_changelog_tp(tp)]
        committed = dict(zip(tps, await asyncio.gather(*map(kafka.committed, tps)), strict=True))
        starts, ends = await asyncio.gather(kafka.beginning_offsets(tps), kafka.end_offsets(tps))
        if epoch != self.epoch:
            return
        books = {}
        for tp in tps:
            start = committed[tp]
            if start is None or not starts[tp] <= start <= ends[tp]:
                start = starts[tp]  # never committed, or the log was cut
            kafka.seek(tp, start)
            books[TP(*tp)] = Book(start, committed[tp])
        if books and await self._commit({tp: book.next for tp, book in books.items()}):
            for book in books.values():
                book.committed = book.next
        if epoch == self.epoch:
            self.sought = books

    @override
    def resume_flow(self) -> None:
        if self.sought is not None:
            self.books, self.sought = self.sought, None
        super().resume_flow()

    @override
    async def seek_to_committed(self) -> Mapping[TP, int]:
        await self.perform_seek()
        return {tp: book.next for tp, book in (self.sought or {}).items()}

    @override
    async def _seek(self, partition: TP, offset: int) -> None:
        await super()._seek(partition, offset)
        if partition in self.books:
            self.books[partition] = Book(offset)
