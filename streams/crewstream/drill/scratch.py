"""The installation of a drill: several of each of our processes, in a folder of its own."""

from __future__ import annotations

import asyncio
import os
import sys
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

import yaml

from crewstream.adapters import kafka as admin
from crewstream.contracts.connection import KafkaConnection
from crewstream.contracts.shipped import shipped
from crewstream.contracts.topics import Topics
from crewstream.drill.load import PROJECTS
from crewstream.drill.proxy import Proxy
from crewstream.embedded.kafka import EmbeddedKafka, cluster_nodes, prepare
from crewstream.embedded.loopback import HOST, free_port
from crewstream.embedded.owned import OwnedProcess, spawn
from crewstream.embedded.supervisor import Event, Phase, Service, Supervisor
from crewstream.embedded.valkey import EmbeddedValkey
from crewstream.errors import Transient
from crewstream_agents.drill import traces

COORDINATORS = ("coordinator-0", "coordinator-1")
WORKERS = ("worker-0", "worker-1")
PROCESSES = (*COORDINATORS, *WORKERS, "recorder", "projector")
MODEL = "openai/gpt-4o-mini"
SESSION_S = 3.0
RUNS_AT_ONCE = 8
READY_WITHIN_S = 120.0
STOP_GRACE_S = 20.0
PROBE_TIMEOUT_S = 2.0
# What decides about the installation of whoever runs the drill must not reach into ours.
FOREIGN = ("CREWSTREAM_", "MODEL", "OPENAI_", "REDIS_URL", "DRILL_")


class Scratch:
    """Kafka, Valkey, ClickHouse in the recorder, a model server, and our processes.

    Everything runs inside the `async with` block; what dies is started again. With `proxied`,
    brokers and Valkey are reached through `proxies`, by the names of their services.
    """

    def __init__(
        self, folder: Path, *, cache_dir: Path, brokers: int, proxied: bool, latency_ms: int
    ) -> None:
        self.folder, self._cache_dir = folder.resolve(), cache_dir
        self.proxies: dict[str, Proxy] = {}
        self._proxied, self._latency_ms = proxied, latency_ms
        self.valkey = EmbeddedValkey(self.folder / "valkey")
        self.brokers = self._brokers(brokers)
        redis_port = self._front("valkey", self.valkey.port)
        self._redis_url = f"redis://{HOST}:{redis_port}/0"
        self.topics_file = self.folder / "topics.yaml"
        self.topics_file.parent.mkdir(parents=True, exist_ok=True)
        self.topics_file.write_text(_topics_of_the_drill())
        self.topics = Topics.load(self.topics_file, replicas=brokers)
        self._ports = {name: free_port() for name in (*PROCESSES, "model", "clickhouse")}
        self.supervisor = Supervisor(self._services(), on_event=self._note)
        self._next_up: dict[str, asyncio.Event] = {}
        self._phases: dict[str, Phase] = {}

    @property
    def connection(self) -> KafkaConnection:
        """How to reach Kafka."""
        return KafkaConnection(
            ",".join(f"{HOST}:{broker.advertised_port}" for broker in self.brokers)
        )

    @property
    def clickhouse_url(self) -> str:
        """ClickHouse's HTTP protocol, while the recorder lives."""
        return f"http://{HOST}:{self._ports['clickhouse']}"

    @property
    def calls_file(self) -> Path:
        """What the model server was asked."""
        return self.folder / "calls.jsonl"

    @property
    def traces_file(self) -> Path:
        """What the tools did."""
        return self.folder / "traces.jsonl"

    def process(self, name: str) -> OwnedProcess:
        """The process of a service, as it is now."""
        return self.supervisor.processes[name]

    def is_up(self, name: str) -> bool:
        """Whether a service was ready when it was last looked at."""
        return self._phases.get(name) is Phase.READY

    def next_up(self, name: str) -> asyncio.Event:
        """Set when the service is ready the next time."""
        return self._next_up.setdefault(name, asyncio.Event())

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(prepare, self._cache_dir)
        async with AsyncExitStack() as stack:
            for proxy in self.proxies.values():
                await stack.enter_async_context(proxy)
            await stack.enter_async_context(self.supervisor)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        # What there was to count is counted, or nobody waits for it any more.
        await self.supervisor.kill()
        await self._stack.aclose()

    def _note(self, event: Event) -> None:
        self._phases[event.service] = event.phase
        if event.phase is Phase.READY:
            self._next_up.pop(event.service, asyncio.Event()).set()

    def _brokers(self, count: int) -> Sequence[EmbeddedKafka]:
        advertised = [free_port() if self._proxied else None for _ in range(count)]
        nodes = cluster_nodes(
            self.folder / "kafka", cache_dir=self._cache_dir, advertised_ports=advertised
        )
        for node in nodes:
            self._front(_name(node), node.port, node.advertised_port)
        return nodes

    def _front(self, name: str, port: int, at: int | None = None) -> int:
        """The port that clients use; a proxy's when there are any."""
        if not self._proxied:
            return port
        proxy = self.proxies[name] = Proxy(port, at or free_port())
        return proxy.port

    def _services(self) -> Sequence[Service]:
        servers = tuple(_name(node) for node in self.brokers)
        apart = [
            Service(name, node.launch, self._broker_ready(node), ready_within_s=READY_WITHIN_S)
            for name, node in zip(servers, self.brokers, strict=True)
        ]
        model = self._python("model", "-m", "crewstream.drill.model", *self._model_arguments())
        return [
            *apart,
            Service("valkey", self.valkey.launch, self.valkey.is_ready),
            Service("model", model, lambda: _listens(self._ports["model"])),
            *(self._process(name, (*servers, "valkey", "model")) for name in PROCESSES),
        ]

    def _broker_ready(self, node: EmbeddedKafka) -> Callable[[], bool]:
        def ready() -> bool:
            if not node.is_ready():
                return False
            if node is not self.brokers[-1]:
                return True
            try:
                asyncio.run(self._apply_topics())
            except Transient:
                return False
            return True

        return ready

    async def _apply_topics(self) -> None:
        await admin.apply(await admin.plan(self.topics, self.connection), self.connection)

    def _process(self, name: str, after: tuple[str, ...]) -> Service:
        return Service(
            name,
            self._python(name, "-P", "-m", "crewstream", name.partition("-")[0]),
            lambda: _healthy(self._ports[name]),
            after,
            ready_within_s=READY_WITHIN_S,
            stop_grace_s=STOP_GRACE_S,
        )

    def _python(self, name: str, *argv: str) -> Callable[[], OwnedProcess]:
        def launch() -> OwnedProcess:
            log_file = self.folder / "logs" / f"{name}.log"
            # In a folder without .env: its settings would be those of somebody's installation.
            cwd = self.folder
            env = self._environment(name)
            return spawn(name, [sys.executable, *argv], log_file=log_file, env=env, cwd=cwd)

        return launch

    def _model_arguments(self) -> Sequence[str]:
        return str(self._ports["model"]), str(self.calls_file), str(self._latency_ms)

    def _environment(self, name: str) -> Mapping[str, str]:
        own = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
        clickhouse = f"chdb://{self.folder / 'clickhouse'}"
        return {
            **own,
            "CREWSTREAM_KAFKA_BOOTSTRAP": self.connection.bootstrap,
            "CREWSTREAM_REDIS_URL": self._redis_url,
            "CREWSTREAM_CLICKHOUSE_DSN": clickhouse if name == "recorder" else self.clickhouse_url,
            "CREWSTREAM_CLICKHOUSE_PORT": str(self._ports["clickhouse"]),
            "CREWSTREAM_TOPICS": str(self.topics_file),
            "CREWSTREAM_PROJECTS": str(self.folder / "projects.yaml"),  # none of the user's
            "CREWSTREAM_REPLICAS": str(len(self.brokers)),
            "CREWSTREAM_SESSION_TIMEOUT_S": str(SESSION_S),
            # A folder for each, as on a machine of its own.
            "CREWSTREAM_DATA_DIR": str(self.folder / "data" / name),
            "CREWSTREAM_HTTP_PORT": str(self._ports.get(name, 0)),
            "CREWSTREAM_LOG_FORMAT": "json",
            "CREWSTREAM_WORKER_RUNNERS": "1",
            "CREWSTREAM_WORKER_CONCURRENCY": str(RUNS_AT_ONCE),
            "CREWSTREAM_WORKER_GRACE_S": str(STOP_GRACE_S / 2),
            "MODEL": MODEL,
            "MODEL_BASE_URL": f"http://{HOST}:{self._ports['model']}/v1",
            traces.FILE: str(self.traces_file),
            # Crews may not write outside of their own folder; this is how the drill counts them.
            "CREWSTREAM_RUNNER_WRITABLE": str(self.traces_file.parent),
        }


def _name(node: EmbeddedKafka) -> str:
    return f"kafka-{node.node_id}"


def _topics_of_the_drill() -> str:
    """The topics that ship, for the drill's projects."""
    found = yaml.safe_load((shipped() / "topics.yaml").read_text("utf-8"))
    return yaml.safe_dump({**found, "projects": list(PROJECTS)})


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=PROBE_TIMEOUT_S):
            return True
    except OSError:
        return False


def _listens(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/", timeout=PROBE_TIMEOUT_S):
            return True
    except urllib.request.HTTPError:
        return True  # it says that there is no such page
    except OSError:
        return False
