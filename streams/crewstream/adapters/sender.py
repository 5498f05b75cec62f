"""Sends records outside of any processor's app: announcements, dead letters of plain loops."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from crewstream.contracts.connection import KafkaConnection
from crewstream.errors import Unreachable
from crewstream.records import Outbound

# The brokers check what is packed, and know each topic's limit; aiokafka's own is one for all.
MOST_REQUEST_BYTES = 64 * 1024 * 1024


class Sender:
    """A producer that confirms what it sends."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer

    async def send(self, records: Iterable[Outbound]) -> None:
        """Send the records; returns when all in-sync replicas have them. Raises Unreachable."""
        try:
            deliveries = [
                await self._producer.send(
                    record.topic,
                    record.value,
                    key=record.key,
                    partition=record.partition,
                    headers=list(record.headers),
                )
                for record in records
            ]
            for delivery in deliveries:
                await delivery
        except KafkaError as error:
            raise Unreachable(f"Kafka did not take the records: {error!r}") from error


@asynccontextmanager
async def sender(connection: KafkaConnection) -> AsyncIterator[Sender]:
    """A Sender, started and stopped. Raises Unreachable: no broker answers."""
    producer = AIOKafkaProducer(
        acks="all",
        enable_idempotence=True,
        compression_type="lz4",
        max_request_size=MOST_REQUEST_BYTES,
        **connection.arguments(),
    )
    try:
        await producer.start()
    except KafkaError as error:
        await producer.stop()
        raise Unreachable(f"Kafka at {connection.bootstrap} does not answer: {error}") from error
    try:
        yield Sender(producer)
    finally:
        await producer.stop()
