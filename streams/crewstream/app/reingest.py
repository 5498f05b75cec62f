"""What is in Kafka is recorded once more, from any offset or time, beside the recorder at work."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import quote, urlsplit

from crewstream.adapters.clickhouse import Dsn, connect
from crewstream.analytics import migrations
from crewstream.app.common import avro_of, topics_of
from crewstream.app.recorder import recorded
from crewstream.config import Settings
from crewstream.contracts.topics import Topics
from crewstream.embedded import clickhouse_key as key
from crewstream.embedded.loopback import HOST, is_free
from crewstream.errors import Invalid, Transient
from crewstream.processors.recorder import Recorder
from crewstream.records import Inbound
from crewstream.runtime.backoff import Backoff
from crewstream.runtime.partitions import PartitionReader, Place, Span, reader

Progress = Callable[[int, int], None]
"""Called with the records that are done and all that there are, as far as offsets tell."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records: of a topic, with or without its prefix, from an offset or a time on.

    `partition` None: all of them.
    """

    topic: str
    partition: int | None = None
    from_offset: int | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """What was recorded: spans by partition, records, and those that could not be used again."""

    topic: str
    spans: Mapping[int, Span]
    records: int = 0
    refused: int = 0


async def reingest(
    settings: Settings, wanted: Wanted, progress: Progress, *, dry_run: bool = False
) -> Done:
    """Record what is wanted and there now; with `dry_run` only say what that is.

    Safe while the recorder runs, and safe to repeat: a row replaces itself by its key. Records that
    cannot be used have their dead letters since they were first read; they get no second ones.
    Raises Invalid: no such topic or partition, or neither offset nor time. Raises Unreachable:
    Kafka or ClickHouse is away at the start; later outages are waited out.
    """
    topics = topics_of(settings)
    found = places(topics, wanted)
    async with reader(settings.kafka, found) as log:
        spans = await _spans(log, found, wanted)
        done = Done(found[0][0], {place[1]: span for place, span in spans.items()})
        if dry_run:
            return done
        async with (
            avro_of(settings, topics) as avro,
            connect(writing(settings), deduplicate=False) as store,
        ):
            await migrations.migrate(store, migrations.Place(store.database))
            recorder = Recorder(store, avro.codec, avro.schemas, recorded(topics), avro.registry)
            return await _run(recorder, log, done, spans, progress)


def places(topics: Topics, wanted: Wanted) -> list[Place]:
    """The partitions that are wanted. Raises Invalid as `reingest`."""
    names = recorded(topics)
    known = (names.metrics, names.state, names.dead_letters)
    topic = next((name for name in known if f".{name}".endswith(f".{wanted.topic}")), None)
    if topic is None or not wanted.topic:
        raise Invalid(f"{wanted.topic!r} is not recorded; there are: {', '.join(known)}")
    if (wanted.from_offset is None) == (wanted.since is None):
        raise Invalid("say from where: either an offset or a time")
    count = topics.partitions(topic)
    if wanted.partition is None:
        return [(topic, number) for number in range(count)]
    if not 0 <= wanted.partition < count:
        raise Invalid(f"{topic} has the partitions 0 to {count - 1}, not {wanted.partition}")
    return [(topic, wanted.partition)]


async def _spans(
    log: PartitionReader, places: Sequence[Place], wanted: Wanted
) -> dict[Place, Span]:
    """From what was asked for, or what is still there, to the present end."""
    starts, ends = await log.starts(places), await log.ends(places)
    if wanted.since is not None:
        asked = await log.since(places, int(wanted.since.timestamp() * 1000))
    else:
        asked = dict.fromkeys(places, wanted.from_offset or 0)
    return {
        place: Span(min(max(asked[place], starts[place]), ends[place]), ends[place])
        for place in places
    }


async def _run(
    recorder: Recorder,
    log: PartitionReader,
    done: Done,
    spans: Mapping[Place, Span],
    progress: Progress,
) -> Done:
    records = refused = 0
    total = sum(span.end - span.start for span in spans.values())
    passed = dict.fromkeys(spans, 0)
    async for place, found in log.read(spans):
        refused += await _recorded(recorder, found)
        records += len(found)
        passed[place] = found[-1].offset + 1 - spans[place].start
        progress(sum(passed.values()), total)
    progress(total, total)
    return Done(done.topic, done.spans, records, refused)


async def _recorded(recorder: Recorder, records: Sequence[Inbound]) -> int:
    """How many of the records could not be used. An outage is waited out."""
    backoff = Backoff(first_s=0.2, most_s=30.0)
    while True:
        try:
            return len(await recorder.record([records]))
        except Transient as away:
            _log.warning("waiting: %s", away)
            await asyncio.sleep(backoff.next_s())


def writing(settings: Settings) -> str:
    """The DSN by which one may write: of an embedded engine that is at work, its own port."""
    dsn = settings.clickhouse_dsn.get_secret_value()
    folder = Dsn.parse(dsn).path
    if folder is not None:
        if is_free(settings.clickhouse_port):
            return dsn  # no recorder has it open, so we may
        return _with_key(f"http://{HOST}:{settings.clickhouse_port}", folder)
    parts = urlsplit(dsn)
    if parts.username or parts.hostname not in {HOST, "localhost"}:
        return dsn
    return _with_key(dsn, str(Path(settings.data_dir) / "clickhouse"))


def _with_key(url: str, folder: str) -> str:
    found = key.read(folder)
    if found is None:
        return url
    parts = urlsplit(url)
    return parts._replace(netloc=f"{quote(key.WRITER)}:{found}@{parts.netloc}").geturl()
