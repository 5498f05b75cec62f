"""Consumer groups seen from outside: who is in them, where they are, and setting them there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import OffsetAndMetadata

from crewstream.contracts.connection import KafkaConnection
from crewstream.contracts.manifest import Position
from crewstream.runtime.partitions import told


class Groups:
    """The consumer groups of a cluster. Its methods raise Unreachable."""

    def __init__(self, connection: KafkaConnection, admin: AIOKafkaAdminClient) -> None:
        self._connection, self._admin = connection, admin

    async def cluster(self) -> str:
        """The cluster's id."""
        with told(self._connection):
            return str((await self._admin.describe_cluster())["cluster_id"])

    async def positions(self, topics: Collection[str]) -> list[Position]:
        """Where every group is that has committed something on these topics."""
        found: list[Position] = []
        with told(self._connection):
            for group, *_ in await self._admin.list_consumer_groups():
                committed = await self._admin.list_consumer_group_offsets(group)
                found += [
                    Position(group=group, topic=tp.topic, partition=tp.partition, offset=at.offset)
                    for tp, at in committed.items()
                    if tp.topic in topics and at.offset >= 0
                ]
        return sorted(found, key=lambda at: (at.group, at.topic, at.partition))

    async def busy(self, names: Collection[str]) -> list[str]:
        """Those of these groups that have members now."""
        with told(self._connection):
            listed = {group for group, *_ in await self._admin.list_consumer_groups()}
            there = sorted(listed.intersection(names))
            answers = await self._admin.describe_consumer_groups(there) if there else []
        return sorted(
            name for answer in answers for _, name, _, _, _, members, *_ in answer.groups if members
        )

    async def commit(self, positions: Iterable[Position]) -> None:
        """Set groups that have no members to where they are to go on."""
        by_group: dict[str, dict[TopicPartition, OffsetAndMetadata]] = defaultdict(dict)
        for at in positions:
            tp = TopicPartition(at.topic, at.partition)
            by_group[at.group][tp] = OffsetAndMetadata(at.offset, "")
        for group, offsets in by_group.items():
            consumer = AIOKafkaConsumer(
                group_id=group, enable_auto_commit=False, **self._connection.arguments()
            )
            with told(self._connection):
                try:
                    await consumer.start()
                    consumer.assign(list(offsets))
                    await consumer.commit(offsets)
                finally:
                    await consumer.stop()


@asynccontextmanager
async def groups(connection: KafkaConnection) -> AsyncIterator[Groups]:
    """The groups, while a connection is open. Raises Unreachable."""
    admin = AIOKafkaAdminClient(**connection.arguments())
    with told(connection):
        try:
            await admin.start()
            yield Groups(connection, admin)
        finally:
            await admin.close()
