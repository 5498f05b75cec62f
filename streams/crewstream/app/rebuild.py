"""The status in Redis made anew from the coordinator's log, with or without a projector beside.

What a projector writes meanwhile does not matter: both write what stands in the log, and a version
never goes back. The one thing that could, a row that was deleted while an older version of it was
being written, is undone by reading on until nothing is left to read.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from crewstream import topology
from crewstream.adapters.redis import RedisStatus, connect
from crewstream.adapters.redis_keys import RedisKeys
from crewstream.app.backup import require
from crewstream.app.common import topics_of
from crewstream.config import Settings
from crewstream.contracts.codec import Codec
from crewstream.contracts.schemas import Schemas
from crewstream.errors import CrewstreamError
from crewstream.processors.projector import project
from crewstream.records import Inbound
from crewstream.runtime.partitions import PartitionReader, Place, Span, reader

PATIENCE_S, PAUSE_S = 60.0, 0.2

Progress = Callable[[int, int], None]
"""Called with how much of the log was read, and how much there is, in offsets."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What the status holds now: workflows by their status, from how many records of the log."""

    records: int
    workflows: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Row:
    """What the log says of a workflow; `version` 0: it is forgotten."""

    version: int
    status: str


class _Refill:
    """Follows the log into the status."""

    def __init__(self, log: PartitionReader, status: RedisStatus, places: Sequence[Place]) -> None:
        self._log, self._status, self._places = log, status, places
        self._codec = Codec(Schemas.load())
        self._from: dict[Place, int] = {}
        self._to: dict[Place, int] = {}
        self.records = 0
        self.rows: dict[str, _Row] = {}

    async def read_on(self, progress: Progress) -> None:
        """Put what stands between here and the present end of the log."""
        self._from = self._from or await self._log.starts(self._places)
        at, ends = {**self._from, **self._to}, await self._log.ends(self._places)
        begin, total = sum(self._from.values()), sum(ends.values())
        spans = {place: Span(at[place], ends[place]) for place in self._places}
        async with aclosing(self._log.read(spans)) as found:
            async for place, records in found:
                await self._put(records)
                at[place] = records[-1].offset + 1
                progress(sum(at.values()) - begin, total - begin)
        self._to = ends

    async def _put(self, records: Sequence[Inbound]) -> None:
        states = project(self._codec, records)
        await self._status.put(states)
        self.records += len(records)
        for name, state in states:
            version, status = (state["version"], state["status"]) if state else (0, "")
            self.rows[name] = _Row(version, status)

    @property
    def live(self) -> dict[str, int]:
        """The version of each workflow that is in the log."""
        return {name: row.version for name, row in self.rows.items() if row.version}


async def rebuild_status(settings: Settings, progress: Progress) -> Rebuilt:
    """Empty the status, fill it from the whole log, and return when it equals the log.

    Until then people see a status that is incomplete. Raises Unreachable, and CrewstreamError when
    somebody else keeps writing what is not in the log.
    """
    topics = topics_of(settings)
    await require(settings, topics)
    name = topics.full(topology.STATE)
    places = [(name, number) for number in range(topics.partitions(name))]
    async with _redis(settings) as (status, keys), reader(settings.kafka, places) as log:
        refill = _Refill(log, status, places)
        await keys.empty_status()
        await refill.read_on(progress)
        await _until_equal(refill, keys, progress)
        await status.filling(range(len(places)))
    counts = Counter(row.status for row in refill.rows.values() if row.version)
    return Rebuilt(refill.records, dict(sorted(counts.items())))


async def _until_equal(refill: _Refill, keys: RedisKeys, progress: Progress) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        before, there = refill.live, await keys.status_versions()
        await refill.read_on(progress)
        live = refill.live
        missing = [n for n, at in before.items() if n in live and there.get(n, 0) < at]
        strange = there.keys() - live.keys()
        if not missing and not strange:
            return
        if time.monotonic() > deadline:
            raise CrewstreamError(
                f"the status does not become what the log says: {len(missing)} workflows are"
                f" missing, {len(strange)} are not in the log; is another installation's projector"
                " writing under this prefix?"
            )
        await asyncio.sleep(PAUSE_S)


@asynccontextmanager
async def _redis(settings: Settings) -> AsyncIterator[tuple[RedisStatus, RedisKeys]]:
    client = connect(settings.redis_url.get_secret_value())
    try:
        yield RedisStatus(client, settings.prefix), RedisKeys(client, settings.prefix)
    finally:
        await client.aclose()
