"""The recorder, killed again and again while measurements flow: every figure is exact."""

from __future__ import annotations

import asyncio
import random
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from crewstream.adapters.clickhouse import connect
from crewstream.app import traces
from crewstream.app.common import avro_of, topics_of
from crewstream.app.reingest import Wanted, reingest, writing
from crewstream.config import Settings, load
from crewstream.contracts.codec import Codec
from crewstream.contracts.events import Measured, Operation
from crewstream.contracts.schemas import Schemas

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

PROGRAM = Path(__file__).with_name("recorder_process.py")
EVENTS = 6_000
KILLS = 3
PATIENCE_S = 60.0
PARTITIONS = 8  # as topics.yaml has it
EXACT = "SELECT count(), sum(input_tokens), sum(cost_usd), uniqExact(_partition) FROM v_events"


class Brokers(Protocol):
    """A running Kafka: the fixture of conftest.py."""

    @property
    def bootstrap(self) -> str: ...


class Process:
    """The recorder of a folder, and its port; started and killed at will."""

    def __init__(self, bootstrap: str, prefix: str, folder: Path) -> None:
        self.port = _free_port()
        command = [sys.executable, PROGRAM, bootstrap, prefix, folder, self.port]
        self._command = [str(part) for part in command]
        self._running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._running = subprocess.Popen(self._command)

    def kill(self) -> None:
        if self._running:
            self._running.kill()
            self._running.wait()

    async def ask(self, sql: str) -> str | None:
        """The answer of its port 8123; None while it does not answer."""
        url = f"http://127.0.0.1:{self.port}"
        try:
            async with aiohttp.ClientSession() as session, session.post(url, data=sql) as answer:
                return (await answer.text()).strip() if answer.status == 200 else None
        except aiohttp.ClientError:
            return None

    async def until(self, rows: int) -> None:
        """Wait until so many measurements are there."""
        async with asyncio.timeout(PATIENCE_S):
            while int(await self.ask("SELECT count() FROM v_events") or 0) < rows:
                assert self._running
                assert self._running.poll() is None, "the recorder ended by itself"
                await asyncio.sleep(0.25)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
    return port


@pytest.fixture
def process(kafka: Brokers, topic_prefix: str, tmp_path: Path) -> Iterator[Process]:
    found = Process(kafka.bootstrap, topic_prefix, tmp_path / "data")
    yield found
    found.kill()


async def produce(bootstrap: str, topic: str, rnd: random.Random) -> None:
    """EVENTS measurements for a few seconds; one in fifty is sent twice, as a producer may."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
    await admin.close()
    codec, now = Codec(Schemas.load()), datetime.now(UTC)
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=5) as producer:
        for number in range(EVENTS):
            event = Measured(
                event_id=str(UUID(int=number)),
                occurred_at=now - timedelta(minutes=number % 600),
                tenant_id=f"t{number % 5}",
                project_id="p",
                workflow_id=f"w{number}",
                operation=Operation.CHAT,
                input_tokens=number,
                cost_usd=Decimal(number).scaleb(-9),
            )
            for _ in range(2 if rnd.random() < 0.02 else 1):
                await producer.send(topic, codec.encode(event), key=str(number).encode())
            if number % 200 == 0:
                await asyncio.sleep(0.1)


async def test_killed_and_replayed_the_figures_are_exact(
    kafka: Brokers, process: Process, topic_prefix: str, tmp_path: Path
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rnd = random.Random(seed)
    producing = asyncio.create_task(produce(kafka.bootstrap, topic_prefix + "metrics", rnd))
    for kill in range(1, KILLS + 1):
        process.start()
        await process.until(EVENTS * kill // (KILLS + 2))
        await asyncio.sleep(rnd.uniform(0, 0.2))
        process.kill()
    process.start()
    await producing
    await process.until(EVENTS)
    total = sum(range(EVENTS))
    exact = [(EVENTS, total, Decimal(total).scaleb(-9), PARTITIONS)]
    settings = _settings(kafka.bootstrap, topic_prefix, tmp_path / "data", process.port)
    async with connect(writing(settings)) as analytics:
        assert (await analytics.query(EXACT)).rows == exact
        await analytics.command(
            "ALTER TABLE events DELETE WHERE input_tokens % 3 = 0 SETTINGS mutations_sync = 1"
        )
        assert (await analytics.query(EXACT)).rows != exact
        wanted = Wanted("metrics", from_offset=0)
        for _ in range(2):  # beside the recorder at work, and once more
            done = await reingest(settings, wanted, lambda *_: None)
            assert (done.refused, sum(s.end for s in done.spans.values())) == (0, done.records)
            assert (await analytics.query(EXACT)).rows == exact
    process.kill()
    async with connect(f"chdb://{tmp_path}/data") as analytics:
        found = await analytics.query(EXACT)
    assert found.rows == exact
    await _every_event_is_one_span(settings)


async def _every_event_is_one_span(settings: Settings) -> None:
    """A collector that is away at first, and that gets some of the spans twice, as Kafka does."""
    seen: set[bytes] = set()
    refused = 0

    async def receive(request: web.Request) -> web.Response:
        nonlocal refused
        if not refused:
            refused += 1
            return web.Response(status=400)
        sent = ExportTraceServiceRequest.FromString(await request.read())
        for resource in sent.resource_spans:
            seen.update(each.span_id for scope in resource.scope_spans for each in scope.spans)
        return web.Response()

    app, topics = web.Application(), topics_of(settings)
    app.router.add_post("/v1/traces", receive)
    async with TestServer(app) as server, avro_of(settings, topics) as avro:
        traced = settings.model_copy(update={"otlp_endpoint": str(server.make_url("/"))})
        async with traces.following(traced, topics, avro), asyncio.timeout(PATIENCE_S):
            while len(seen) < EVENTS:  # noqa: ASYNC110  (what is awaited has no event)
                await asyncio.sleep(0.1)
    assert (len(seen), refused) == (EVENTS, 1)


def _settings(bootstrap: str, prefix: str, folder: Path, port: int) -> Settings:
    values: dict[str, object] = {
        "kafka_bootstrap": bootstrap,
        "prefix": prefix.removesuffix("."),
        "clickhouse_dsn": f"chdb://{folder}",
        "clickhouse_port": port,
    }
    return load(**values)
