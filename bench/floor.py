"""The floor: the same four hops through two processes, by aiokafka and nothing else.

`python -m bench.floor ROLE BOOTSTRAP` is one of the two processes.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from bench.load import Route

from crewstream import topology
from crewstream.contracts.topics import Topics

PREFIX = "floor"
PROJECT = "bizoholic"
ROLES: Mapping[str, Mapping[str, str]] = {
    "coordinator": {
        topology.REQUESTS: topology.TASKS,
        topology.RESULTS: topology.FINISHED,
    },
    "worker": {topology.TASKS: topology.RESULTS},
}


def topics() -> Topics:
    """The product's topics, partitions and all, under a prefix of their own."""
    return Topics.load(prefix=PREFIX, replicas=1)


def route(size: int) -> Route:
    """The way through the floor; requests are of `size` bytes, as the product's are."""
    there = topics()
    return Route(
        PREFIX,
        there.full(topology.REQUESTS, PROJECT),
        there.full(topology.FINISHED, PROJECT),
        lambda _: b"x" * size,
    )


async def echo(hops: Mapping[str, str], group: str, bootstrap: str) -> None:
    """Send what arrives on one topic to the next, in the settings of the product's clients.

    It keeps no rows, waits for no delivery and commits by the clock: nothing useful costs less.
    """
    async with (
        AIOKafkaProducer(
            bootstrap_servers=bootstrap, acks="all", enable_idempotence=True
        ) as producer,
        AIOKafkaConsumer(
            *hops,
            bootstrap_servers=bootstrap,
            group_id=group,
            auto_offset_reset="earliest",
            auto_commit_interval_ms=500,
            fetch_max_wait_ms=100,
            metadata_max_age_ms=10_000,
        ) as consumer,
    ):
        while True:
            for place, records in (await consumer.getmany(timeout_ms=100)).items():
                for record in records:
                    await producer.send(hops[place.topic], record.value, key=record.key)


def main() -> None:
    """Run one role until killed."""
    _, role, bootstrap = sys.argv
    there = topics()
    hops = {
        there.full(arrives, PROJECT): there.full(leaves, PROJECT)
        for arrives, leaves in ROLES[role].items()
    }
    asyncio.run(echo(hops, f"{PREFIX}-{role}", bootstrap))


if __name__ == "__main__":
    main()
