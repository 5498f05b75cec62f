"""What every process is wired with: contracts, options, probes, the signal to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from aiohttp.web import Application, RouteDef

from crewstream.adapters import web
from crewstream.adapters.prometheus import Metrics
from crewstream.adapters.registry import Registry
from crewstream.config import Process, Settings
from crewstream.contracts import framing
from crewstream.contracts.codec import Codec
from crewstream.contracts.schemas import Schemas
from crewstream.contracts.topics import Topics
from crewstream.records import Inbound
from crewstream.runtime.health import Health
from crewstream.runtime.options import MEBIBYTE, RuntimeOptions
from crewstream.topology import STATE

_log = logging.getLogger(__name__)


def topics_of(settings: Settings) -> Topics:
    """The topics of this installation."""
    return Topics.load(
        settings.topics,
        prefix=settings.prefix,
        replicas=settings.replicas,
        added=settings.projects,
    )


@dataclass(frozen=True, slots=True)
class Avro:
    """The codec of a process, and where it finds schemas that are not in the lock."""

    schemas: Schemas
    codec: Codec
    registry: Registry | None = None

    async def prepare(self, records: Iterable[Inbound]) -> None:
        """Have every schema at hand that the records were written with. Raises Unreachable."""
        if self.registry is None:
            return
        for schema_id in {framing.schema_id(record.value) for record in records}:
            if schema_id is not None and schema_id not in self.schemas.by_id:
                await self.registry.fetch(schema_id)


@asynccontextmanager
async def avro_of(settings: Settings, topics: Topics) -> AsyncIterator[Avro]:
    """The codec by the committed lock and, when one is set, a registry that agrees with it.

    Raises SchemaConflict: the registry has one of our schemas under another id.
    """
    schemas = Schemas.load()
    if not settings.registry_url:
        yield Avro(schemas, Codec(schemas))
        return
    async with Registry(settings.registry_url) as registry:
        if missing := await registry.missing(schemas, topics):
            _log.warning(
                "the registry lacks %s: run `crewstream schemas register`", ", ".join(missing)
            )
        yield Avro(schemas, Codec(schemas, registry), registry)


def full_names(topics: Topics, templates: Sequence[str]) -> list[str]:
    """The topics in Kafka that templates stand for, those of every project written out."""
    return [topic.name for topic in topics.all() if topic.template in templates]


def options(settings: Settings, topics: Topics, process: Process) -> RuntimeOptions:
    """How a Faust process of ours runs."""
    found = RuntimeOptions(
        app_id=f"{settings.prefix}-{process}",
        partitions=topics.partitions(topics.full(STATE)),
        datadir=settings.data_dir / "rows",
        session_timeout_s=settings.session_timeout_s,
        commit_interval_s=min(0.5, settings.session_timeout_s / 4),
        drain_grace_s=settings.worker_grace_s,
    )
    if process != "worker":
        return found
    return replace(
        found,
        # One partition may have it all, as long as no other needs it.
        window=settings.worker_window,
        total_window=settings.worker_window,
        total_bytes=settings.worker_window_mib * MEBIBYTE,
    )


@asynccontextmanager
async def probes(
    settings: Settings,
    process: Process,
    health: Callable[[], Health],
    metrics: Metrics,
    behind: Callable[[], Mapping[str, int]],
    *,
    routes: Sequence[RouteDef] = (),
    below: Mapping[str, Application] | None = None,
) -> AsyncIterator[None]:
    """Serve /health, /metrics, `routes` and what is `below` while the process runs."""
    lag: dict[str, int] = {}

    def now() -> web.Health:
        found = health()
        metrics.gauge("crewstream_ready", float(found.ready))
        return web.Health(found.ready, tuple(found.problems))

    def rendered() -> tuple[bytes, str]:
        now()
        # A topic whose partitions went elsewhere is not behind any more.
        lag.update(dict.fromkeys(lag, 0) | dict(behind()))
        for topic, records in lag.items():
            metrics.gauge("crewstream_lag_records", records, topic=topic)
        return metrics.render()

    port = settings.port_of(process)
    async with web.serve(settings.http_host, port, now, rendered, routes=routes, below=below):
        yield


async def until_told(work: Coroutine[None, None, None]) -> int:
    """Run `work` until it ends by its own fault, which is raised, or SIGTERM or SIGINT: 0."""
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return 0
    return 1
