"""Partitions read and written as a whole, and groups set to where they go on, on a real Kafka."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from crewstream.contracts.connection import KafkaConnection
from crewstream.contracts.manifest import Position
from crewstream.records import Inbound
from crewstream.runtime.groups import groups
from crewstream.runtime.partitions import Place, Span, reader, writer

if TYPE_CHECKING:
    from support.servers import Brokers

pytestmark = pytest.mark.integration

HEADERS = [("x", b"1"), ("x", b"\xff"), ("nothing", None)]


@pytest.fixture
async def place(kafka: Brokers, topic_prefix: str) -> Place:
    topic = f"{topic_prefix}log"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    forever = {"retention.ms": "-1"}
    await admin.create_topics([NewTopic(topic, 2, 1, topic_configs=forever)])
    await admin.close()
    return topic, 1


def record(place: Place, offset: int, value: bytes | None = b"v") -> Inbound:
    key = None if value is None else f"k{offset}".encode()
    return Inbound(*place, offset, key, value, HEADERS, 1_700_000_000_000 + offset)  # type: ignore[arg-type]  # a header without a value


async def read(connection: KafkaConnection, place: Place, span: Span) -> list[Inbound]:
    async with (
        reader(connection, [place]) as log,
        aclosing(log.read({place: span})) as found,
    ):
        return [record async for _, records in found for record in records]


async def test_what_is_written_is_read_and_old_offsets_are_found_again(
    kafka: Brokers, place: Place
) -> None:
    connection = KafkaConnection(kafka.bootstrap)
    async with writer(connection) as out:
        old = [record(place, 3), record(place, 7, None), record(place, 8)]
        asked = [0, 3, 4, 7, 8, 9, 100]
        written = await out.write(place, old, end=0, asked=asked)
        assert written.records == 3
        assert written.moved == {0: 0, 3: 0, 4: 1, 7: 1, 8: 2, 9: 3, 100: 3}
        more = await out.write(place, [record(place, 20)], end=3, asked=[8, 20, 21])
        assert more.moved == {8: 3, 20: 3, 21: 4}
        nothing = await out.write(place, [], end=4, asked=[5])
        assert nothing.moved == {5: 4}
    found = await read(connection, place, Span(0, 4))
    assert [each.timestamp_ms - 1_700_000_000_000 for each in found] == [3, 7, 8, 20]
    # Nothing travels that has neither key nor value.
    assert [(each.key, each.value) for each in found[:2]] == [(b"k3", b"v"), (None, b"")]
    assert [(name, value) for name, value in found[0].headers] == HEADERS
    assert [each.offset for each in await read(connection, place, Span(1, 3))] == [1, 2]
    assert await read(connection, place, Span(4, 4)) == []


async def test_a_group_goes_on_where_it_is_set_and_one_with_members_is_busy(
    kafka: Brokers, place: Place, topic_prefix: str
) -> None:
    connection, group = KafkaConnection(kafka.bootstrap), f"{topic_prefix}group"
    async with groups(connection) as found:
        assert await found.busy([group]) == []
        await found.commit([Position(group=group, topic=place[0], partition=1, offset=5)])
        [at] = await found.positions([place[0]])
        assert (at.group, at.partition, at.offset) == (group, 1, 5)
        async with AIOKafkaConsumer(
            place[0], bootstrap_servers=kafka.bootstrap, group_id=group
        ) as member:
            await member.getmany(timeout_ms=100)
            assert await found.busy([group, "nobody"]) == [group]
        assert await found.busy([group]) == []
