"""Dead letters of an installation: found, sent again to where they came from, put aside.

The topic is read from its start each time, twice for a replay: letters are rare, and so their bytes
need not be held. A letter is marked after its record is confirmed on its topic; a crash between the
two lets it be replayed once more, which its processors bear as they bear any repetition.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from crewstream import topology
from crewstream.adapters.sender import Sender, sender
from crewstream.app.common import topics_of
from crewstream.client import Client
from crewstream.config import Settings
from crewstream.contracts import letters
from crewstream.contracts.letters import Letter, Mark
from crewstream.errors import Invalid, InvalidTopics
from crewstream.records import Inbound, Outbound

# What is sent and confirmed at once.
MOST_RECORDS, MOST_BYTES = 500, 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Filed:
    """A letter without its bytes: where it lies, and what was done about it."""

    letter: Letter
    partition: int
    offset: int
    at: datetime
    key: str
    mark: Mark | None = None

    @property
    def workflow_id(self) -> str:
        """The workflow it is about, as far as it can be told without its value."""
        return self.letter.workflow_id or self.key


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters; what is empty is not asked for. `topic` goes without the prefix as well."""

    ids: Sequence[str] = ()
    topic: str = ""
    error_type: str = ""
    since: datetime | None = None
    until: datetime | None = None
    tenant: str = ""
    workflow: str = ""
    marked: bool = False

    def takes(self, filed: Filed) -> bool:
        """Whether this letter is meant, whatever was done about it."""
        letter = filed.letter
        return (
            (not self.ids or letter.id in self.ids)
            and (not self.topic or f".{letter.topic}".endswith(f".{self.topic}"))
            and (not self.error_type or letter.error_type == self.error_type)
            and (self.since is None or filed.at >= self.since)
            and (self.until is None or filed.at < self.until)
            and (not self.tenant or letter.tenant_id == self.tenant)
            and (not self.workflow or _about(filed, self.workflow))
        )


@dataclass(slots=True)
class _Batch:
    """Originals and the marks of their letters, until there are enough to send."""

    originals: list[Outbound] = field(default_factory=list)
    marks: list[Outbound] = field(default_factory=list)
    bytes: int = 0

    @property
    def full(self) -> bool:
        return len(self.marks) >= MOST_RECORDS or self.bytes >= MOST_BYTES


class DeadLetters:
    """The dead letters' topic of an installation."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topics = topics_of(settings)
        self._name = self._topics.full(topology.DEAD_LETTERS)

    async def find(self, wanted: Wanted) -> list[Filed]:
        """The letters that are meant, newest first; those with a mark only if asked for.

        Raises Unreachable.
        """
        found: dict[str, Filed] = {}
        async for record in self._records():
            if letters.is_mark(record.headers):
                of, mark = letters.marked(record.headers) or ("", None)
                if of in found:
                    found[of] = replace(found[of], mark=mark)
            elif wanted.takes(filed := _filed(record)):
                known = found.get(filed.letter.id)
                found[filed.letter.id] = replace(filed, mark=known.mark if known else None)
        kept = [each for each in found.values() if wanted.marked or each.mark is None]
        return sorted(kept, key=lambda each: each.at, reverse=True)

    async def one(self, name: str) -> tuple[Filed, Inbound]:
        """A letter by its id or its `PARTITION@OFFSET`, with its bytes. Raises Invalid: none."""
        found: tuple[Filed, Inbound] | None = None
        mark: Mark | None = None
        async for record in self._records():
            if letters.is_mark(record.headers):
                of, told = letters.marked(record.headers) or ("", None)
                mark = told if found and of == found[0].letter.id else mark
            elif name in ((filed := _filed(record)).letter.id, f"{filed.partition}@{filed.offset}"):
                found = filed, record
        if found is None:
            raise Invalid(f"there is no dead letter {name!r}: see `crewstream dlq list --all`")
        return replace(found[0], mark=mark), found[1]

    def refusal(self, filed: Filed) -> str:
        """Why a letter cannot be sent again; empty when it can."""
        letter = filed.letter
        if letter.size:
            return f"it is cut: its value had {letter.size} bytes, more than is kept of one"
        if not letter.topic or letter.partition < 0:
            return "its headers do not say where it came from"
        try:
            topic = self._topics.topic(letter.topic)
        except InvalidTopics:
            return f"topics.yaml has no topic {letter.topic}"
        if "compact" in topic.config.get("cleanup.policy", ""):
            return f"{letter.topic} is a table: an old row would replace what is there now"
        return ""

    async def replay(self, chosen: Sequence[Filed]) -> int:
        """Send the records to where they came from, and mark their letters; how many it were.

        Raises Unreachable; what was marked until then is sent.
        """
        return await self._act(chosen, Mark.REPLAYED)

    async def discard(self, chosen: Sequence[Filed]) -> int:
        """Mark the letters as done with; how many it were. Raises Unreachable."""
        return await self._act(chosen, Mark.DISCARDED)

    async def _act(self, chosen: Sequence[Filed], mark: Mark) -> int:
        left = {(each.partition, each.offset): each for each in chosen}
        batch, done = _Batch(), 0
        async with sender(self._settings.kafka) as out, aclosing(self._records()) as records:
            async for record in records:
                if filed := left.pop((record.partition, record.offset), None):
                    self._add(batch, record, filed, mark)
                if batch.full:
                    done += await _send(out, batch)
                    batch = _Batch()
                if not left:
                    break
            return done + await _send(out, batch)

    def _add(self, batch: _Batch, record: Inbound, filed: Filed, mark: Mark) -> None:
        headers = letters.marking(filed.letter, mark, datetime.now(UTC))
        # Not None: aiokafka sends nothing that has neither key nor value.
        batch.marks.append(Outbound(self._name, record.key, b"", headers, record.partition))
        if mark is Mark.REPLAYED:
            batch.originals.append(self._original(record, filed.letter))
            batch.bytes += len(record.value or b"")

    def _original(self, record: Inbound, letter: Letter) -> Outbound:
        there = letter.partition < self._topics.partitions(letter.topic)
        return Outbound(
            letter.topic,
            record.key,
            record.value,
            letters.replaying(record.headers, letter),
            letter.partition if there else None,
        )

    async def _records(self) -> AsyncGenerator[Inbound, None]:
        of = self._settings
        client = Client(prefix=of.prefix, connection=of.kafka, topics=of.topics)
        async with aclosing(client.records(self._name, start="beginning", follow=False)) as records:
            async for record in records:
                yield record


async def _send(out: Sender, batch: _Batch) -> int:
    await out.send(batch.originals)
    await out.send(batch.marks)
    return len(batch.marks)


def _filed(record: Inbound) -> Filed:
    return Filed(
        letter=letters.read(record.headers, record.position),
        partition=record.partition,
        offset=record.offset,
        at=record.at,
        key=(record.key or b"").decode("utf-8", "backslashreplace"),
    )


def _about(filed: Filed, workflow_id: str) -> bool:
    return workflow_id in (filed.letter.workflow_id, filed.key) or filed.key.startswith(
        f"{workflow_id}/"
    )
