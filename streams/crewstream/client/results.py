"""The results of one project: those to come, by one consumer for every waiter, and those past."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, aclosing
from datetime import datetime
from weakref import WeakValueDictionary

from aiokafka import AIOKafkaConsumer

from crewstream.client.following import POLL_MS, Reading, inbound, opened, read, unreachable
from crewstream.contracts.codec import Codec
from crewstream.contracts.connection import KafkaConnection
from crewstream.contracts.events import WorkflowFinished
from crewstream.contracts.topics import partition_for
from crewstream.errors import Undecodable, Unreachable
from crewstream.records import Inbound

log = logging.getLogger(__name__)

Arrival = asyncio.Future[WorkflowFinished]


class Results:
    """A project's result topic. Its consumer starts with the first result that is expected."""

    def __init__(self, connection: KafkaConnection, topic: str, codec: Codec) -> None:
        self._connection = connection
        self._topic = topic
        self._codec = codec
        # Weak: who submits and never asks must not make us remember every workflow.
        self._awaited: WeakValueDictionary[str, Arrival] = WeakValueDictionary()
        self._starting = asyncio.Lock()
        self._open = AsyncExitStack()
        self._task: asyncio.Task[None] | None = None
        self._partitions = 0

    async def expect(self, workflow_id: str) -> Arrival:
        """The future of a workflow's result, if it comes after this call. Raises Unreachable."""
        async with self._starting:
            if self._task is None or self._task.done():
                await self._start()
        found = self._awaited.get(workflow_id)
        if found is None:
            found = asyncio.get_running_loop().create_future()
            self._awaited[workflow_id] = found
        return found

    async def find(self, workflow_id: str, since: datetime | None) -> WorkflowFinished | None:
        """The result of a workflow, if it came before this call; `since` None: ever.

        To be called after `expect`, so that nothing falls in between. Raises Unreachable.
        """
        key = workflow_id.encode()
        partition = partition_for(key, self._partitions)
        past = Reading(self._topic, "beginning", follow=False, partition=partition, since=since)
        async with aclosing(read(self._connection, past)) as records:
            async for record in records:
                if record.key == key and (finished := decoded(self._codec, record)):
                    return finished
        return None

    async def close(self) -> None:
        """Stop reading; who still waits gets Unreachable."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._open.aclose()
        self._give_up(Unreachable("the client was closed"))

    async def _start(self) -> None:
        await self._open.aclose()
        reading = Reading(self._topic, "now")
        consumer = await self._open.enter_async_context(opened(self._connection, reading))
        self._partitions = len(consumer.assignment())
        self._task = asyncio.create_task(self._read(consumer))

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        try:
            while True:
                with unreachable(self._connection):
                    batches = await consumer.getmany(timeout_ms=POLL_MS)
                for record in (record for records in batches.values() for record in records):
                    self._take(inbound(record))
        except Unreachable as error:
            self._give_up(error)

    def _give_up(self, error: Unreachable) -> None:
        for future in list(self._awaited.values()):
            if not future.done():
                future.set_exception(error)
                future.exception()  # seen: a result that nobody waits for is no complaint
        # Who asks again gets a new future, and a new consumer to fill it.
        self._awaited.clear()

    def _take(self, record: Inbound) -> None:
        future = self._awaited.get((record.key or b"").decode(errors="replace"))
        if future is None or future.done():
            return
        if (finished := decoded(self._codec, record)) is not None:
            future.set_result(finished)


def decoded(codec: Codec, record: Inbound) -> WorkflowFinished | None:
    """The result in a record; None, and a line in the log, when it cannot be read."""
    try:
        return codec.decode(record.value, WorkflowFinished)
    except Undecodable as error:
        log.warning("result left out", extra={"at": record.position, "reason": str(error)})
        return None
