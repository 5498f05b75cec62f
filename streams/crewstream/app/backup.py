"""A backup of a running installation, read in an order in which a restored one loses nothing.

What is read, in this order:

1. where every consumer group is;
2. where the tables (the compacted topics) end: first the stored payloads, then the rows of
   workflows, and a moment later all others. Then the tables, up to these ends;
3. the logs (every other topic), from where our slowest reader is up to their present end;
   results, dead letters and what no group of ours reads, from their beginning;
4. Redis, but for the status, which is made from the log.

Why nothing is lost. The coordinator confirms the outputs of an event first, its rows next, and
commits its offset last. So of an event whose offset was committed in (1), the rows are in (2) and
the outputs in (3). Any other event is in (3) itself and is applied again, which its rows bear: an
event that they have seen changes nothing. An event whose rows are in (2) has its outputs in (3),
because those were confirmed before and (3) is read later. A worker commits an assignment once its
result is confirmed: so of an assignment below (1) the result is in (3) or applied, and any other is
in (3). What it brought is in Redis, read after (3), so that it is answered and not paid for again.

Why tables fit one another. Each is a clean prefix of its log, as a crash would leave it, and the
rows of workflows are the oldest cut: who reads a row finds what it refers to. Payloads are written
once and are deleted when their workflow has completed; the row in hand may be from before that end,
which is applied again and wants them. So a deletion that is younger than the first cut is left out.
(What is superseded must not be compacted away while it is read: `min.compaction.lag.ms` of tables.)

What is behind the backup is not in it: requests that were accepted since have to be asked for
again, with their own ids; results that were announced since are announced once more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from crewstream import topology
from crewstream.adapters import kafka
from crewstream.adapters.redis import connect
from crewstream.adapters.redis_keys import RedisKeys
from crewstream.app.common import topics_of
from crewstream.config import Settings
from crewstream.contracts import archive, manifest
from crewstream.contracts.manifest import File, Manifest, Partition, Position
from crewstream.contracts.topics import Topic, Topics
from crewstream.errors import Invalid, Misconfigured
from crewstream.records import Inbound
from crewstream.runtime.groups import groups
from crewstream.runtime.partitions import PartitionReader, Place, Span, reader

KEYS = "redis.avro"
# Written once a workflow and then only deleted: what is deleted may still be wanted.
WRITTEN_ONCE = {topology.PAYLOADS}
# Read by people as long as they are kept, whatever the recorder has read of them.
KEPT_WHOLE = {topology.DEAD_LETTERS}
# Rows of one batch that are on their way together have arrived by then.
SETTLE_S = 1.0

Tell = Callable[[str], None]


def is_table(topic: Topic) -> bool:
    """Whether a topic is kept by key, and so is a table."""
    return "compact" in topic.config.get("cleanup.policy", "")


def places(topics: Iterable[Topic]) -> list[Place]:
    """Every partition of these topics."""
    return [(topic.name, number) for topic in topics for number in range(topic.partitions)]


async def require(settings: Settings, topics: Topics) -> None:
    """Raise Invalid unless every topic is there, Unreachable when Kafka is not."""
    if missing := (await kafka.plan(topics, settings.kafka)).create:
        names = ", ".join(topic.name for topic in missing)
        raise Invalid(f"Kafka has no topics {names}: `crewstream topics apply`")


async def take(settings: Settings, folder: Path, tell: Tell) -> Manifest:
    """Write a backup into a folder that is empty or not there; everything may run meanwhile.

    Raises Misconfigured (the folder), Unreachable, Invalid (a topic is missing, or tables may have
    been compacted while they were read).
    """
    topics, began = topics_of(settings), datetime.now(UTC)
    await require(settings, topics)
    _prepare(folder)
    everything = places(topics.all())
    async with groups(settings.kafka) as members, reader(settings.kafka, everything) as log:
        cluster = await members.cluster()
        positions = await members.positions({topic.name for topic in topics.all()})
        saver = _Saver(folder, log, tell)
        await _save_tables(saver, topics)
        await _save_logs(saver, topics, settings.prefix, positions)
    keys = await _save_keys(settings, folder, tell)
    done = Manifest(
        crewstream=version("crewstream"),
        prefix=settings.prefix,
        cluster=cluster,
        began_at=began,
        ended_at=datetime.now(UTC),
        topics={topic.name: topic.partitions for topic in topics.all()},
        partitions=tuple(saver.done),
        positions=tuple(positions),
        keys=keys,
    )
    manifest.write(folder, done)
    return done


def _prepare(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # it is what customers sent
        if any(folder.iterdir()):
            raise Misconfigured(f"{folder} is not empty; a backup needs a folder of its own")
    except OSError as error:
        raise Misconfigured(f"{folder} cannot be used for a backup: {error}") from error


@dataclass(frozen=True, slots=True)
class Cut:
    """What of a partition is saved; deletions from offset `deletions_to` on are left out."""

    span: Span
    deletions_to: int | None = None

    def keeps(self, record: Inbound) -> bool:
        """Whether a record of the span is saved."""
        deletes_late = self.deletions_to is not None and record.offset >= self.deletions_to
        return not (deletes_late and record.value is None)


class _Saver:
    """Writes partitions into files of the folder, one each."""

    def __init__(self, folder: Path, log: PartitionReader, tell: Tell) -> None:
        self._folder, self._tell = folder, tell
        self.log, self.done = log, list[Partition]()

    async def save(self, cuts: Mapping[Place, Cut]) -> None:
        """Save what these cuts hold; a partition without a record has a file as well."""
        counts = dict.fromkeys(cuts, 0)
        for place in cuts:
            archive.append(self._path(place), archive.RECORD, [])
        spans = {place: cut.span for place, cut in cuts.items()}
        async with aclosing(self.log.read(spans)) as found:
            async for place, records in found:
                entries = [_entry(each) for each in records if cuts[place].keeps(each)]
                archive.append(self._path(place), archive.RECORD, entries)
                counts[place] += len(entries)
        for place, cut in cuts.items():
            self.done.append(self._described(place, counts[place], cut.span))
        for name in dict.fromkeys(topic for topic, _ in cuts):
            count = sum(counts[place] for place in cuts if place[0] == name)
            self._tell(f"{name}: {count} records")

    def _path(self, place: Place) -> Path:
        return self._folder / "{}-{}.avro".format(*place)

    def _described(self, place: Place, count: int, span: Span) -> Partition:
        file = manifest.described(self._folder, self._path(place).name, count)
        return Partition(
            **file.model_dump(),
            topic=place[0],
            partition=place[1],
            start=span.start,
            end=span.end,
        )


async def _save_tables(saver: _Saver, topics: Topics) -> None:
    tables = [topic for topic in topics.all() if is_table(topic)]
    rows = [topic for topic in tables if topic.template == topology.STATE]
    once = [topic for topic in tables if topic.template in WRITTEN_ONCE]
    began_s = time.monotonic()
    wanted_to = await saver.log.ends(places(once))
    ends = await saver.log.ends(places(rows))
    await asyncio.sleep(SETTLE_S)
    ends |= await saver.log.ends(places(topic for topic in tables if topic not in rows))
    starts = await saver.log.starts(ends)
    cuts = {p: Cut(Span(starts[p], ends[p]), wanted_to.get(p)) for p in ends}
    # What may be compacted soonest is read first.
    order = sorted(tables, key=lambda topic: (_lag_s(topic), topic.name))
    for topic in order:
        await saver.save({place: cuts[place] for place in places([topic])})
    in_time(tables, time.monotonic() - began_s)


def _lag_s(topic: Topic) -> float:
    return int(topic.config.get("min.compaction.lag.ms", "0")) / 1000


def in_time(tables: Iterable[Topic], took_s: float) -> None:
    """Raise Invalid when a table may have been compacted while all were read."""
    late = [topic.name for topic in tables if 0 < _lag_s(topic) < took_s]
    if late:
        raise Invalid(
            f"reading the tables took {took_s:.0f} s, and {', '.join(late)} may have been compacted"
            " meanwhile: raise min.compaction.lag.ms in topics.yaml, and take the backup again"
        )


async def _save_logs(
    saver: _Saver, topics: Topics, prefix: str, positions: Sequence[Position]
) -> None:
    logs = [topic for topic in topics.all() if not is_table(topic)]
    starts, ends = await saver.log.starts(places(logs)), await saver.log.ends(places(logs))
    at = {(each.group, each.topic, each.partition): each.offset for each in positions}
    for topic in logs:
        groups_of = readers(topic, prefix)
        for place in places([topic]):
            slowest = min((at.get((group, *place), 0) for group in groups_of), default=0)
            starts[place] = max(starts[place], slowest)
    await saver.save({p: Cut(Span(starts[p], ends[p])) for p in places(logs)})


def readers(topic: Topic, prefix: str) -> list[str]:
    """The groups of ours that have done with a record once they are past it; none: keep all."""
    if topic.template in KEPT_WHOLE:
        return []
    return [f"{prefix}-{each.name}" for each in topology.PROCESSORS if topic.template in each.reads]


async def _save_keys(settings: Settings, folder: Path, tell: Tell) -> File:
    redis, path, count = connect(settings.redis_url.get_secret_value()), folder / KEYS, 0
    archive.append(path, archive.KEY, [])
    try:
        async with aclosing(RedisKeys(redis, settings.prefix).saved()) as pages:
            async for entries in pages:
                archive.append(path, archive.KEY, entries)
                count += len(entries)
    finally:
        await redis.aclose()
    tell(f"Redis: {count} keys")
    return manifest.described(folder, KEYS, count)


def _entry(record: Inbound) -> archive.Entry:
    return {
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
        "key": record.key,
        "value": record.value,
        "headers": [{"name": name, "value": value} for name, value in record.headers],
    }
