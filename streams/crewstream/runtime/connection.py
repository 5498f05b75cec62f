"""Waits for a broker that has our topics, and checks that they fit one another."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from crewstream.contracts.connection import KafkaConnection
from crewstream.errors import Misconfigured
from crewstream.runtime.backoff import Backoff

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a broker told us: the cluster's id, and how many partitions each topic has."""

    id: str
    partitions: Mapping[str, int]


async def wait_for_topics(kafka: KafkaConnection, topics: Iterable[str]) -> Cluster:
    """Wait, for as long as it takes, until a broker answers and all `topics` exist."""
    wanted, backoff, waiting = sorted(set(topics)), Backoff(first_s=0.2, most_s=5.0), ""
    while True:
        try:
            cluster = await _describe(kafka)
            problem = _missing(cluster, wanted)
        except (KafkaError, OSError) as exc:
            cluster, problem = None, f"Kafka at {kafka.bootstrap} does not answer: {exc!r}"
        if cluster is not None and not problem:
            if waiting:
                _log.info("Kafka at %s is there", kafka.bootstrap)
            return cluster
        if problem != waiting:
            _log.warning("%s; waiting", problem)
            waiting = problem
        await asyncio.sleep(backoff.next_s())


async def _describe(kafka: KafkaConnection) -> Cluster:
    admin = AIOKafkaAdminClient(request_timeout_ms=5000, **kafka.arguments())
    try:
        await admin.start()
        found = await admin.describe_topics()  # asking for one by name might create it
        cluster = await admin.describe_cluster()
    finally:
        await admin.close()
    return Cluster(
        id=cluster["cluster_id"],
        partitions={t["topic"]: len(t["partitions"]) for t in found if not t["error_code"]},
    )


def _missing(cluster: Cluster, topics: list[str]) -> str:
    missing = [topic for topic in topics if not cluster.partitions.get(topic)]
    return f"no such topics: {', '.join(missing)} (crewstream topics apply)" if missing else ""


def check_copartitioned(cluster: Cluster, topics: Iterable[str], partitions: int) -> None:
    """All `topics` have that many partitions; else a row could not be found where its events are.

    Raises Misconfigured naming each topic that differs.
    """
    wrong = [f"{t} has {n}" for t in sorted(topics) if (n := cluster.partitions[t]) != partitions]
    if wrong:
        raise Misconfigured(f"expected {partitions} partitions: {', '.join(wrong)}")
