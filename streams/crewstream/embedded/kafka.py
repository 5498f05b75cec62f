"""A real Apache Kafka (KRaft) beside this process: one node, or several as a cluster."""

from __future__ import annotations

import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

from crewstream.embedded.distribution import (
    Distribution,
    blank_store,
    install,
    make_archive,
    new_id,
)
from crewstream.embedded.loopback import HOST, free_port, require_free
from crewstream.embedded.owned import OwnedProcess, await_ready, claimed, spawn
from crewstream.errors import StartFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from crewstream.embedded.jars import Progress
    from crewstream.embedded.java import Java

STARTED = "Kafka Server started"
START_TIMEOUT_S = 60.0
# A node that has lost its quorum cannot end cleanly and would take minutes to give up.
STOP_GRACE_S = 30.0
HEAP_MB = 256
MAX_RECORD_BYTES = 8 * 1024 * 1024
BATCH_OVERHEAD_BYTES = 64 * 1024

# For one machine; what is not here is Kafka's default. Retention is the topics' own business.
SETTINGS: Mapping[str, str] = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "BROKER",
    "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "auto.create.topics.enable": "false",
    "message.max.bytes": str(MAX_RECORD_BYTES + BATCH_OVERHEAD_BYTES),
    "replica.fetch.max.bytes": str(MAX_RECORD_BYTES + BATCH_OVERHEAD_BYTES),
    # A member that died is replaced after its session: tests and drills want that to be short.
    "group.min.session.timeout.ms": "500",
    "group.initial.rebalance.delay.ms": "0",
    # After kill -9 the broker is fenced for this long before it may come back.
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "3000",
    "offsets.topic.num.partitions": "4",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "2",
    # Its default of 128 MB is taken in full at the start.
    "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
    "log.segment.bytes": str(64 * 1024 * 1024),
}

# What the broker's log says -> what to tell the user (format arguments: the node itself).
EXPLANATIONS: Mapping[str, str] = {
    "OutOfMemoryError": "its heap of {node.heap_mb} MB is too small; 128 MB are enough",
    "Too small maximum heap": "its heap of {node.heap_mb} MB is too small; 128 MB are enough",
    "Address already in use": "port {node.port} or {node.controller_port} was taken meanwhile; "
    "start again, or choose another port",
    "No space left on device": "the disk that holds {node.data_dir} is full; make room",
}


class EmbeddedKafka:
    """One broker on a data folder, listening on 127.0.0.1.

    The folder keeps the data and the node's identity: the next start on it, on whatever port, has
    both again. `port` None takes a free one. `advertised_port` is where clients are told to
    connect, when something stands in front. `config` is added to SETTINGS. `cache_dir` holds what
    all nodes of this machine share (see `install`).

        with EmbeddedKafka(data_dir, cache_dir=cache_dir) as kafka:
            AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        cache_dir: Path,
        port: int | None = None,
        controller_port: int | None = None,
        advertised_port: int | None = None,
        node_id: int = 1,
        cluster_id: str | None = None,
        heap_mb: int = HEAP_MB,
        java: Java | None = None,
        jvm_flags: Sequence[str] | None = None,
        config: Mapping[str, str] | None = None,
    ) -> None:
        self.data_dir, self.cache_dir = data_dir.resolve(), cache_dir
        self.port = free_port() if port is None else port
        self.controller_port = free_port() if controller_port is None else controller_port
        self.advertised_port = advertised_port or self.port
        self.node_id, self.cluster_id, self.heap_mb = node_id, cluster_id, heap_mb
        self.bootstrap = f"{HOST}:{self.port}"
        self.log_file = self.data_dir / "broker.log"
        self.process: OwnedProcess | None = None
        self._java, self._jvm_flags, self._config = java, jvm_flags, config or {}

    def launch(self) -> OwnedProcess:
        """Spawn the broker and return at once, or after a first start's preparations.

        Raises StartFailed: no Java, no jars, port or folder in use.
        """
        distribution = install(self.cache_dir, java=self._java)
        with claimed(self.data_dir) as claim:
            require_free(self.port, "Kafka")
            require_free(self.controller_port, "Kafka's controller")
            properties = self.data_dir / "server.properties"
            properties.write_text(f"{self._properties()}log.dirs={self.store}\n")
            self._ensure_store(distribution)
            self.process = spawn(
                "kafka",
                distribution.command(
                    self.heap_mb, "kafka.Kafka", str(properties), jvm_flags=self._jvm_flags
                ),
                log_file=self.log_file,
                inherit=[claim],
            )
        return self.process

    def is_ready(self) -> bool:
        """Whether the broker serves; it says so in its log, after it is unfenced.

        StartFailed when the log says why it never will, and we know what to do about it.
        """
        log = self.process.log() if self.process else ""
        for sign, explanation in EXPLANATIONS.items():
            if sign in log:
                raise StartFailed(
                    f"Kafka could not be started: {explanation.format(node=self)} "
                    f"(its log is {self.log_file})"
                )
        return STARTED in log

    def start(self, timeout_s: float = START_TIMEOUT_S) -> Self:
        """Launch and wait until ready. Raises StartFailed with what its log says."""
        await_ready(self.launch(), self.is_ready, timeout_s)
        return self

    def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """Stop cleanly; killed after `grace_s`. Nothing happens when it does not run."""
        if self.process:
            self.process.stop(grace_s)

    def kill(self) -> None:
        """End it as a crash would."""
        if self.process:
            self.process.kill()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def store(self) -> Path:
        """Where the broker keeps its logs."""
        return self.data_dir / "store"

    def _properties(self) -> str:
        listeners = f"BROKER://{HOST}:{self.port},CONTROLLER://{HOST}:{self.controller_port}"
        own = {
            "node.id": str(self.node_id),
            "listeners": listeners,
            "advertised.listeners": f"BROKER://{HOST}:{self.advertised_port}",
            "controller.quorum.voters": f"{self.node_id}@{HOST}:{self.controller_port}",
        }
        settings = {**SETTINGS, **own, **self._config}
        return "".join(f"{key}={value}\n" for key, value in settings.items())

    def _ensure_store(self, distribution: Distribution) -> None:
        """A new folder gets a copy of the blank store, under this node's own ids."""
        if self.store.exists():
            return
        identity = {
            "version": "1",
            "cluster.id": self.cluster_id or new_id(),
            "node.id": str(self.node_id),
            "directory.id": new_id(),
        }
        # Whole or not at all: a half-made store would be taken for one with data.
        made = self.store.with_suffix(".new")
        shutil.rmtree(made, ignore_errors=True)
        shutil.copytree(blank_store(distribution, self._properties()), made)
        lines = "".join(f"{key}={value}\n" for key, value in identity.items())
        (made / "meta.properties").write_text(lines)
        made.rename(self.store)


def prepare(cache_dir: Path, *, java: Java | None = None, progress: Progress | None = None) -> None:
    """Make this machine ready: fetch the jars, then make the class archive that halves the start.

    Nothing happens what was done before. May run while brokers run: they use the archive from
    their next start on. Takes seconds, once; `progress` is about the jars (see `fetch_jars`).
    """
    distribution = install(cache_dir, java=java, progress=progress)

    def run_once(jvm_flags: Sequence[str]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            kafka = EmbeddedKafka(
                Path(folder), cache_dir=cache_dir, java=distribution.java, jvm_flags=jvm_flags
            )
            kafka.start()
            kafka.stop(grace_s=120)  # the archive is written as it ends

    make_archive(distribution, run_once)


def cluster_nodes(
    data_dir: Path,
    *,
    cache_dir: Path,
    advertised_ports: Sequence[int | None],
    config: Mapping[str, str] | None = None,
) -> list[EmbeddedKafka]:
    """The brokers of a cluster, one for each advertised port (None: its own), not yet started.

    They keep up to three copies; writes need all but one of them.
    """
    nodes = len(advertised_ports)
    copies, needed = str(min(nodes, 3)), str(max(1, min(nodes, 3) - 1))
    controllers = [free_port() for _ in range(nodes)]
    voters = ",".join(f"{i}@{HOST}:{port}" for i, port in enumerate(controllers, 1))
    shared = {
        **{key: copies for key in SETTINGS if key.endswith("replication.factor")},
        **{key: needed for key in SETTINGS if key.endswith("min.isr")},
        "default.replication.factor": copies,
        "min.insync.replicas": needed,
        "controller.quorum.voters": voters,
        **(config or {}),
    }
    cluster_id = new_id()
    return [
        EmbeddedKafka(
            data_dir / f"node-{i}",
            cache_dir=cache_dir,
            controller_port=controller,
            advertised_port=advertised,
            node_id=i,
            cluster_id=cluster_id,
            config=shared,
        )
        for i, (controller, advertised) in enumerate(
            zip(controllers, advertised_ports, strict=True), 1
        )
    ]


@contextmanager
def kafka_cluster(
    data_dir: Path, *, cache_dir: Path, nodes: int = 3, config: Mapping[str, str] | None = None
) -> Iterator[list[EmbeddedKafka]]:
    """Several brokers that replicate, as in `cluster_nodes`, running.

    Each can be killed and started again.
    """
    brokers = cluster_nodes(
        data_dir, cache_dir=cache_dir, advertised_ports=[None] * nodes, config=config
    )
    try:
        for broker, process in [(broker, broker.launch()) for broker in brokers]:
            await_ready(process, broker.is_ready, START_TIMEOUT_S)
        yield brokers
    finally:
        with ThreadPoolExecutor(nodes) as pool:
            list(pool.map(EmbeddedKafka.stop, brokers))
