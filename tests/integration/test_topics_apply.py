"""topics.yaml becomes the topics of a real Kafka, and stays them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from crewstream.adapters.kafka import apply, plan
from crewstream.contracts.connection import KafkaConnection
from crewstream.contracts.topic_plan import Plan
from crewstream.contracts.topic_rules import CO_PARTITIONED
from crewstream.contracts.topics import Topics
from crewstream.errors import Invalid, Unreachable

if TYPE_CHECKING:
    from support.servers import Brokers

pytestmark = pytest.mark.integration


@pytest.fixture
def topics(topic_prefix: str) -> Topics:
    return Topics.load(prefix=topic_prefix.strip("."), replicas=1)


@pytest.fixture
def connection(kafka: Brokers) -> KafkaConnection:
    return KafkaConnection(bootstrap=kafka.bootstrap)


async def test_an_empty_cluster_gets_every_topic_and_is_then_in_sync(
    topics: Topics, connection: KafkaConnection
) -> None:
    planned = await plan(topics, connection)
    assert list(planned.create) == list(topics.all())

    await apply(planned, connection)

    assert (await plan(topics, connection)).text == "in sync"
    await apply(planned, connection)  # somebody else came first: no error


async def test_a_setting_is_put_right_and_one_of_somebody_else_is_kept(
    topics: Topics, connection: KafkaConnection
) -> None:
    await apply(await plan(topics, connection), connection)
    name = topics.full("metrics")
    by_hand = dict(topics.topic(name).config) | {"retention.ms": "1000", "segment.ms": "777000"}
    admin = AIOKafkaAdminClient(**connection.arguments())
    await admin.start()
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, by_hand)])
    await admin.close()

    planned = await plan(topics, connection)
    for _ in range(100):  # Kafka shows a change a moment after it took it
        if planned.alter:
            break
        await asyncio.sleep(0.1)
        planned = await plan(topics, connection)
    (alteration,) = planned.alter
    assert alteration.changes == {"retention.ms": ("1000", "604800000")}
    await apply(planned, connection)

    assert (await plan(topics, connection)).in_sync
    assert (await _config(connection, name))["segment.ms"] == "777000"


async def test_partitions_grow_but_not_under_the_tables_of_the_coordinator(
    topics: Topics, connection: KafkaConnection
) -> None:
    small = [replace(topic, partitions=1) for topic in topics.all()]
    await apply(Plan(create=small), connection)

    planned = await plan(topics, connection)
    await apply(planned, connection)

    left = await plan(topics, connection)
    assert not left.grow
    assert {line.split(" has ")[0] for line in left.drift} == {
        topic.name for topic in topics.all() if topic.template in CO_PARTITIONED
    }


async def test_a_topic_that_nobody_wrote_down_is_told_and_left_alone(
    topics: Topics, connection: KafkaConnection
) -> None:
    stranger = f"{topics.prefix}.old.results"
    await apply(Plan(create=[replace(topics.all()[0], name=stranger)]), connection)

    planned = await plan(topics, connection)

    assert any(stranger in line for line in planned.drift)
    await apply(planned, connection)
    assert any(stranger in line for line in (await plan(topics, connection)).drift)


async def test_what_kafka_refuses_is_told_with_its_reason(
    topics: Topics, connection: KafkaConnection
) -> None:
    too_many = replace(topics.all()[0], replicas=7)
    with pytest.raises(Invalid, match=r"(?i)replication"):
        await apply(Plan(create=[too_many]), connection)


async def test_a_cluster_that_is_not_there_is_unreachable(topics: Topics) -> None:
    with pytest.raises(Unreachable, match="does not answer"):
        await plan(topics, KafkaConnection(bootstrap="127.0.0.1:1"))


async def _config(connection: KafkaConnection, name: str) -> dict[str, str]:
    admin = AIOKafkaAdminClient(**connection.arguments())
    await admin.start()
    resource = ConfigResource(ConfigResourceType.TOPIC, name)
    (response,) = await admin.describe_configs([resource])
    await admin.close()
    return {key: value for key, value, *_ in response.resources[0][4]}
