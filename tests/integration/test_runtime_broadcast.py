"""A topic that everybody reads: what was said lately, nothing older, and all that comes."""

from __future__ import annotations

import asyncio
import time

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from crewstream.contracts.connection import KafkaConnection
from crewstream.runtime.broadcast import Broadcast
from support.servers import Brokers

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

HOUR_S = 3600.0


async def test_the_last_hour_is_known_at_the_start_and_then_what_comes(
    kafka: Brokers, topic_prefix: str
) -> None:
    topic, seen, came = topic_prefix + "told", list[bytes](), asyncio.Event()
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 2, 1)])
    await admin.close()

    def told(_key: bytes, value: bytes) -> None:
        seen.append(value)
        if value == b"new":
            came.set()

    def broadcast() -> Broadcast:
        return Broadcast(KafkaConnection(kafka.bootstrap), topic, 2, told, back_s=HOUR_S)

    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
        async with broadcast():
            assert seen == [], "an empty topic is read to its end at once"
        now_ms = int(time.time() * 1000)
        for value, age_s in ((b"old", 2 * HOUR_S), (b"lately", HOUR_S / 2)):
            at_ms = now_ms - int(age_s * 1000)
            await producer.send_and_wait(topic, value, b"k", partition=0, timestamp_ms=at_ms)
        await producer.send_and_wait(
            topic, b"older", b"k", partition=1, timestamp_ms=now_ms - int(3 * HOUR_S * 1000)
        )
        async with broadcast() as heard:
            assert seen == [b"lately"]
            following = asyncio.create_task(heard.follow())
            await producer.send_and_wait(topic, b"new", b"k", partition=1)
            await came.wait()
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
    assert seen == [b"lately", b"new"]
