"""A whole installation on this machine: its servers and our processes, on one data folder."""

from __future__ import annotations

import asyncio
import os
import sys
import urllib.request
from dataclasses import astuple, dataclass, fields
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from crewstream.adapters import kafka
from crewstream.contracts.connection import KafkaConnection
from crewstream.contracts.topics import Topics
from crewstream.embedded.kafka import EmbeddedKafka, prepare
from crewstream.embedded.loopback import HOST, free_port, require_free
from crewstream.embedded.owned import OwnedProcess, spawn
from crewstream.embedded.supervisor import Service
from crewstream.embedded.valkey import EmbeddedValkey
from crewstream.errors import Invalid, StartFailed, Transient

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from crewstream.embedded.jars import Progress

SERVICES = ("kafka", "valkey", "worker", "recorder", "coordinator", "projector")
READY_WITHIN_S = 120.0
PROBE_TIMEOUT_S = 2.0
# A worker gives its runs CREWSTREAM_WORKER_GRACE_S, and then has to leave its group.
STOP_GRACE_S = 60.0


@dataclass(frozen=True, slots=True)
class Ports:
    """Where everything listens, on 127.0.0.1."""

    kafka: int = 9092
    redis: int = 6379
    clickhouse: int = 8123
    coordinator: int = 8181
    worker: int = 8182
    recorder: int = 8183
    projector: int = 8184

    @classmethod
    def free(cls) -> Ports:
        """Ports that nothing listens on, for an installation that is gone in a minute."""
        found: set[int] = set()
        while len(found) < len(fields(cls)):
            found.add(free_port())
        return cls(*found)

    @classmethod
    def shifted(cls, offset: int) -> Ports:
        """The usual ports, each plus `offset`: a second installation beside the first."""
        return cls(*(port + offset for port in astuple(cls())))


class Installation:
    """Kafka with our topics, Valkey, ClickHouse and one process of each kind of ours.

        async with Supervisor(Installation(data_dir, cache_dir=cache_home()).services()):
            ...

    `cache_dir` holds what is made once a machine; `on_jar` is called with (done, total) while Kafka
    is fetched into it. `topics` is a topics.yaml of your own, `projects` the projects.yaml of what
    was added. `settings` are further CREWSTREAM_* values for our processes.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        cache_dir: Path,
        prefix: str = "crewstream",
        ports: Ports | None = None,
        topics: Path | None = None,
        projects: Path | None = None,
        settings: Mapping[str, str] | None = None,
        on_jar: Progress | None = None,
    ) -> None:
        self.data_dir, self.ports = data_dir.resolve(), ports or Ports()
        self.kafka = EmbeddedKafka(
            self.data_dir / "kafka", cache_dir=cache_dir, port=self.ports.kafka
        )
        self.valkey = EmbeddedValkey(self.data_dir / "valkey", port=self.ports.redis)
        self.kafka.log_file, self.valkey.log_file = self.log_of("kafka"), self.log_of("valkey")
        self._prefix, self._settings, self._on_jar = prefix, dict(settings or {}), on_jar
        self._topics, self.projects = topics, projects
        if projects is not None:
            self._settings["CREWSTREAM_PROJECTS"] = str(projects)

    @property
    def clickhouse_url(self) -> str:
        """ClickHouse's HTTP protocol."""
        return f"http://{HOST}:{self.ports.clickhouse}"

    @property
    def status_url(self) -> str:
        """Who answers questions about workflows."""
        return f"http://{HOST}:{self.ports.projector}"

    @property
    def schemas_url(self) -> str:
        """The schemas of our topics, in the words of a Confluent registry; read only."""
        return f"{self.status_url}/registry"

    @property
    def settings(self) -> Mapping[str, str]:
        """What a client of this installation sets in its environment."""
        return {
            "CREWSTREAM_PREFIX": self._prefix,
            "CREWSTREAM_KAFKA_BOOTSTRAP": self.kafka.bootstrap,
            "CREWSTREAM_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",
            "CREWSTREAM_REDIS_URL": self.valkey.url,
            "CREWSTREAM_CLICKHOUSE_DSN": self.clickhouse_url,
            "CREWSTREAM_STATUS_URL": self.status_url,
            "CREWSTREAM_REPLICAS": "1",
            **self._settings,
        }

    @property
    def logs(self) -> Path:
        """The folder of all logs, one file a service."""
        return self.data_dir / "logs"

    def log_of(self, service: str) -> Path:
        """The file that a service writes its log to."""
        return self.logs / f"{service}.log"

    def health_of(self, process: str) -> str:
        """Where a process of ours says how it is."""
        return f"http://{HOST}:{getattr(self.ports, process)}/health"

    def services(self) -> Sequence[Service]:
        """What is to be supervised, servers first."""
        return [
            Service("kafka", self._launch_kafka, self._kafka_ready),
            Service("valkey", self.valkey.launch, self.valkey.is_ready),
            # The worker first: it has the most to import.
            self._process("worker", after=("kafka", "valkey")),
            self._process("recorder", after=("kafka",)),
            self._process("coordinator", after=("kafka",)),
            self._process("projector", after=("kafka", "valkey")),
        ]

    def servers(self) -> Sequence[Service]:
        """Kafka and Valkey alone, and no topics: what a backup is restored into."""
        return [
            Service("kafka", self._launch_kafka, self.kafka.is_ready),
            Service("valkey", self.valkey.launch, self.valkey.is_ready),
        ]

    def _launch_kafka(self) -> OwnedProcess:
        prepare(self.kafka.cache_dir, progress=self._on_jar)
        return self.kafka.launch()

    def _kafka_ready(self) -> bool:
        """Whether the broker serves, and has our topics."""
        if not self.kafka.is_ready():
            return False
        try:
            asyncio.run(self.apply_topics())
        except Transient:
            return False
        except Invalid as error:
            raise StartFailed(f"the topics cannot be made: {error}") from error
        return True

    async def apply_topics(self) -> None:
        """Make the topics that are missing. Raises Unreachable, InvalidTopics."""
        connection = KafkaConnection(self.kafka.bootstrap)
        topics = Topics.load(self._topics, prefix=self._prefix, replicas=1, added=self.projects)
        await kafka.apply(await kafka.plan(topics, connection), connection)

    def _process(self, name: str, after: tuple[str, ...]) -> Service:
        def launch() -> OwnedProcess:
            require_free(getattr(self.ports, name), f"the {name}'s health page")
            if name == "recorder":
                require_free(self.ports.clickhouse, "ClickHouse")
            return spawn(
                name,
                # -P: what lies in the folder that we were started in is not ours to import.
                [sys.executable, "-P", "-m", "crewstream", name],
                log_file=self.log_of(name),
                env=self._environment(name),
            )

        return Service(
            name,
            launch,
            lambda: _healthy(self.health_of(name)),
            after,
            ready_within_s=READY_WITHIN_S,
            stop_grace_s=STOP_GRACE_S,
        )

    def _environment(self, name: str) -> Mapping[str, str]:
        environment = {
            **os.environ,
            "CREWSTREAM_LOG_FORMAT": "json",
            **self.settings,
            "CREWSTREAM_DATA_DIR": str(self.data_dir),
            "CREWSTREAM_HTTP_HOST": HOST,
            "CREWSTREAM_HTTP_PORT": str(getattr(self.ports, name)),
        }
        if name == "recorder":  # it owns the engine; everybody else asks it over HTTP
            environment["CREWSTREAM_CLICKHOUSE_DSN"] = f"chdb://{self.data_dir / 'clickhouse'}"
            environment["CREWSTREAM_CLICKHOUSE_PORT"] = str(self.ports.clickhouse)
        return environment


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=PROBE_TIMEOUT_S) as answer:  # noqa: S310  (ours)
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False
