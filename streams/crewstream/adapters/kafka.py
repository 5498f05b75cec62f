"""Kafka's topics, seen and changed: what `contracts.topic_plan` plans is done here.

One of the places that import aiokafka.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)

from crewstream.contracts import topic_plan
from crewstream.contracts.topic_plan import Actual, Plan
from crewstream.errors import Invalid, Unreachable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from crewstream.contracts.connection import KafkaConnection
    from crewstream.contracts.topics import Topics

_SET_ON_THE_TOPIC = 1  # config_source DYNAMIC_TOPIC_CONFIG in Kafka's protocol
_VISIBLE_S = 30.0
_POLL_S = 0.05


async def plan(topics: Topics, connection: KafkaConnection) -> Plan:
    """Compare topics.yaml with the cluster; changes nothing.

    On a single broker one copy of each topic is wanted. Raises Unreachable, Invalid (the cluster
    refuses to tell).
    """
    async with _admin(connection) as admin:
        found = await _actual(admin, f"{topics.prefix}.")
        brokers = (await admin.describe_cluster())["brokers"]
        # A topic with more copies tells a cluster whose other brokers are away from a single one.
        alone = len(brokers) == 1 and all(topic.replicas <= 1 for topic in found)
        return topic_plan.plan(topics.on_one_broker() if alone else topics, found)


async def apply(plan: Plan, connection: KafkaConnection) -> None:
    """Do what is planned, and wait until the cluster shows it. Drift is left alone.

    Raises Unreachable (or: not visible within 30 s), Invalid (the cluster refuses).
    """
    async with _admin(connection) as admin:
        await _create(admin, plan)
        await _grow(admin, plan)
        await _alter(admin, plan)
        await _visible(admin, plan)


async def _create(admin: AIOKafkaAdminClient, plan: Plan) -> None:
    if not plan.create:
        return
    new = [
        NewTopic(each.name, each.partitions, each.replicas, topic_configs=dict(each.config))
        for each in plan.create
    ]
    response = await admin.create_topics(new)
    # Somebody else may have applied the same file a moment ago.
    _check((code, f"{name}: {why}") for name, code, why in response.topic_errors)


async def _grow(admin: AIOKafkaAdminClient, plan: Plan) -> None:
    if plan.grow:
        await admin.create_partitions({each.name: NewPartitions(each.after) for each in plan.grow})


async def _alter(admin: AIOKafkaAdminClient, plan: Plan) -> None:
    if plan.alter:
        changed = [_resource(each.name, each.config) for each in plan.alter]
        for response in await admin.alter_configs(changed):
            _check((code, f"{name}: {why}") for code, why, _, name in response.resources)


async def _visible(admin: AIOKafkaAdminClient, plan: Plan) -> None:
    partitions = {each.name: each.partitions for each in plan.create}
    partitions |= {each.name: each.after for each in plan.grow}
    config = {each.name: each.config for each in plan.alter}
    deadline = asyncio.get_running_loop().time() + _VISIBLE_S
    while True:
        seen = {each.name: each for each in await _actual(admin)}
        if all(
            name in seen and seen[name].partitions >= count for name, count in partitions.items()
        ) and all(seen[name].config == wanted for name, wanted in config.items()):
            return
        if asyncio.get_running_loop().time() > deadline:
            raise Unreachable(f"Kafka took the changes but did not show them in {_VISIBLE_S:g} s")
        await asyncio.sleep(_POLL_S)


async def _actual(admin: AIOKafkaAdminClient, prefix: str = "") -> list[Actual]:
    found = [each for each in await admin.describe_topics() if each["topic"].startswith(prefix)]
    configs = await _configs(admin, [each["topic"] for each in found])
    return [
        Actual(
            name=each["topic"],
            partitions=len(each["partitions"]),
            replicas=min((len(part["replicas"]) for part in each["partitions"]), default=0),
            config=configs[each["topic"]],
        )
        for each in found
        if each["topic"] in configs
    ]


async def _configs(
    admin: AIOKafkaAdminClient, names: Iterable[str]
) -> dict[str, Mapping[str, str]]:
    """By topic; without those that the broker which is asked does not know yet."""
    resources = [_resource(name) for name in names]
    found: dict[str, Mapping[str, str]] = {}
    for response in await admin.describe_configs(resources) if resources else ():
        for code, why, _, name, entries in response.resources:
            if for_code(code) is UnknownTopicOrPartitionError:
                continue
            _check([(code, f"{name}: {why}")])
            found[name] = {
                key: value for key, value, _, source, *_ in entries if source == _SET_ON_THE_TOPIC
            }
    return found


def _resource(name: str, config: Mapping[str, str] | None = None) -> ConfigResource:
    return ConfigResource(ConfigResourceType.TOPIC, name, config and dict(config))


def _check(results: Iterable[tuple[int, str]]) -> None:
    refused = [(for_code(code), told) for code, told in results if code]
    if told := [
        f"{told} ({kind.__name__})" for kind, told in refused if kind is not TopicAlreadyExistsError
    ]:
        raise Invalid("Kafka refuses: " + "; ".join(told))


@asynccontextmanager
async def _admin(connection: KafkaConnection) -> AsyncIterator[AIOKafkaAdminClient]:
    arguments: dict[str, Any] = connection.arguments()
    admin = AIOKafkaAdminClient(**arguments)
    try:
        await admin.start()
        yield admin
    except KafkaConnectionError as error:
        raise Unreachable(f"Kafka at {connection.bootstrap} does not answer: {error}") from error
    except KafkaError as error:
        raise Invalid(f"Kafka at {connection.bootstrap} refuses: {error}") from error
    finally:
        await admin.close()
