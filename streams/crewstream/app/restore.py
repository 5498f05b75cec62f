"""A backup becomes an installation again: Redis, then tables and logs, then where every group was.

The catalogue of crews comes last, topic and all: coordinators and workers wait for it before they
join their groups, so those that a supervisor has started meanwhile see all of it or nothing.

Offsets are others afterwards, because a backup has no gaps. A group goes on with the record that it
would have read next, wherever that is now. Records keep their time, except on topics that carry the
broker's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from crewstream import topology
from crewstream.adapters import kafka
from crewstream.adapters.redis import connect
from crewstream.adapters.redis_keys import PAGE, RedisKeys, Saved
from crewstream.app.backup import KEYS, Tell, places
from crewstream.app.common import topics_of
from crewstream.config import Settings
from crewstream.contracts import archive, manifest
from crewstream.contracts.manifest import Manifest, Partition, Position
from crewstream.contracts.topics import Topics
from crewstream.errors import Invalid, Misconfigured
from crewstream.records import Inbound
from crewstream.runtime.groups import Groups, groups
from crewstream.runtime.partitions import PartitionWriter, Place, reader, writer
from crewstream.topology import Processor

# What coordinators and workers wait for before they join their groups.
GATE = topology.CATALOGUE


@dataclass(frozen=True, slots=True)
class Restored:
    """What was written; keys that Redis still had are not among them."""

    records: int
    keys: int
    positions: int


async def restore(settings: Settings, folder: Path, *, force: bool, tell: Tell) -> Restored:
    """Fill a Kafka that has none of our records, and Redis, from a backup.

    `force` writes on top of what is there. Raises Invalid (the backup, or the installation, is not
    fit for it), Misconfigured (another prefix), Unreachable. After an error nothing has been opened
    to coordinators and workers; do it again with `force`.
    """
    found, topics = manifest.read(folder), topics_of(settings)
    _check_fits(found, topics)
    manifest.verify(folder, found)
    async with groups(settings.kafka) as members:
        await _check_idle(members, _groups(settings.prefix, topology.PROCESSORS))
        if not force:
            await _check_empty(settings, topics)
        keys = await _bring_keys(settings, folder, tell)
        refill = _Refill(settings, folder, found, tell)
        gate = topics.full(GATE)
        await _make(settings, topics, but=gate)
        moved = await refill.fill([each for each in found.partitions if each.topic != gate])
        await _set(members, settings.prefix, moved, tell)
        await _make(settings, topics)
        await refill.fill([each for each in found.partitions if each.topic == gate])
    return Restored(refill.records, keys, len(moved))


async def _make(settings: Settings, topics: Topics, but: str = "") -> None:
    planned = await kafka.plan(topics, settings.kafka)
    wanted = [topic for topic in planned.create if topic.name != but]
    await kafka.apply(replace(planned, create=wanted), settings.kafka)


def _check_fits(found: Manifest, topics: Topics) -> None:
    if found.prefix != topics.prefix:
        raise Misconfigured(
            f"the backup is of the installation {found.prefix!r}: set CREWSTREAM_PREFIX to it"
        )
    have = {topic.name: topic.partitions for topic in topics.all()}
    wrong = [
        f"{name} had {count} partitions, topics.yaml has {have.get(name, 'no such topic')}"
        for name, count in found.topics.items()
        if have.get(name) != count
    ]
    if wrong:
        raise Invalid(f"the backup does not fit topics.yaml: {'; '.join(wrong)}")


def _groups(prefix: str, processors: Iterable[Processor]) -> list[str]:
    return [f"{prefix}-{each.name}" for each in processors]


async def _check_idle(members: Groups, names: Sequence[str]) -> None:
    if busy := await members.busy(names):
        raise Invalid(
            f"processes are at work in {', '.join(busy)}: stop them, and wait for their session to"
            " end; what they read of half a restore would be lost"
        )


async def _check_empty(settings: Settings, topics: Topics) -> None:
    planned = await kafka.plan(topics, settings.kafka)
    missing = {topic.name for topic in planned.create}
    there = places(topic for topic in topics.all() if topic.name not in missing)
    async with reader(settings.kafka, there) as log:
        starts, ends = await log.starts(there), await log.ends(there)
    held = sorted({place[0] for place in there if ends[place] > starts[place]})
    if held or planned.drift:
        told = [*(f"{name} holds records" for name in held), *planned.drift]
        raise Invalid(
            f"this is no empty cluster: {'; '.join(told)}; --force writes on top of what is there"
        )


async def _set(members: Groups, prefix: str, moved: Sequence[Position], tell: Tell) -> None:
    """Set the groups. One that only reads may be at work by now: it reads all, which is no harm."""
    writers = [each for each in topology.PROCESSORS if each.writes]
    await _check_idle(members, _groups(prefix, writers))
    busy = await members.busy({at.group for at in moved})
    await members.commit(at for at in moved if at.group not in busy)
    for name in busy:
        tell(f"{name}: at work already, and reads everything from its beginning")


class _Refill:
    """Writes the partitions of a backup, and follows the groups' positions."""

    def __init__(self, settings: Settings, folder: Path, found: Manifest, tell: Tell) -> None:
        self._settings, self._folder, self._tell = settings, folder, tell
        self._positions: dict[Place, list[Position]] = defaultdict(list)
        for at in found.positions:
            self._positions[at.topic, at.partition].append(at)
        self.records = 0

    async def fill(self, partitions: Sequence[Partition]) -> list[Position]:
        """Write these; where their groups go on now. Raises Invalid: records are missing."""
        todo = {(each.topic, each.partition): each for each in partitions}
        async with reader(self._settings.kafka, todo) as log:
            ends = await log.ends(todo)
        moved: list[Position] = []
        async with writer(self._settings.kafka) as out:
            for place, each in todo.items():
                moved += await self._fill(out, place, each, ends[place])
        for name in dict.fromkeys(each.topic for each in partitions):
            self._tell(f"{name}: {sum(e.entries for e in partitions if e.topic == name)} records")
        return moved

    async def _fill(
        self, out: PartitionWriter, place: Place, file: Partition, end: int
    ) -> list[Position]:
        at = self._positions[place]
        asked = [each.offset for each in at]
        written = await out.write(place, self._records(file), end=end, asked=asked)
        if written.records != file.entries:
            raise Invalid(f"{file.path} has {written.records} records, not {file.entries}")
        self.records += written.records
        return [e.model_copy(update={"offset": written.moved[e.offset]}) for e in at]

    def _records(self, file: Partition) -> Iterator[Inbound]:
        for entry in archive.entries(self._folder / file.path):
            yield Inbound(
                file.topic,
                file.partition,
                entry["offset"],
                entry["key"],
                entry["value"],
                [(each["name"], each["value"]) for each in entry["headers"]],
                entry["timestamp_ms"],
            )


async def _bring_keys(settings: Settings, folder: Path, tell: Tell) -> int:
    redis, count = connect(settings.redis_url.get_secret_value()), 0
    keys = RedisKeys(redis, settings.prefix)
    try:
        page: list[Saved] = []
        for entry in archive.entries(folder / KEYS):
            page.append(entry)
            if len(page) == PAGE:
                count += await keys.bring_back(page)
                page = []
        count += await keys.bring_back(page)
        # The projector makes it again, from the log as it is now.
        await keys.empty_status()
    finally:
        await redis.aclose()
    tell(f"Redis: {count} keys")
    return count
