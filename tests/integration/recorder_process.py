"""A recorder as a process: reads a topic into a folder's ClickHouse and serves it. For kill tests.

Usage: recorder_process.py BOOTSTRAP PREFIX FOLDER PORT
"""

from __future__ import annotations

import asyncio
import sys

from crewstream.adapters.clickhouse import connect
from crewstream.analytics.migrations import Place, migrate
from crewstream.contracts.codec import Codec
from crewstream.contracts.connection import KafkaConnection
from crewstream.contracts.schemas import Schemas
from crewstream.embedded import clickhouse_key as key
from crewstream.embedded.clickhouse import READERS, ClickHouseFace
from crewstream.embedded.clickhouse_wire import User
from crewstream.processors.recorder import Recorder, Topics
from crewstream.runtime.plain import Batch, PlainLoop, PlainOptions


async def main(bootstrap: str, prefix: str, folder: str, port: int) -> None:
    schemas = Schemas.load()
    topics = Topics(prefix + "metrics", prefix + "state", prefix + "dead")
    options = PlainOptions(
        group=prefix + "recorder",
        topics=[topics.metrics],
        max_records=400,
        max_wait_s=0.05,
        session_timeout_s=1.5,
    )
    users = (*READERS, User(key.WRITER, key.make(folder), read_only=False))
    async with (
        ClickHouseFace(folder, port=port, users=users),
        connect(f"chdb://{folder}") as analytics,
    ):
        await migrate(analytics, Place(analytics.database))
        recorder = Recorder(analytics, Codec(schemas), schemas, topics)

        async def handle(batch: Batch) -> None:
            assert not await recorder.record(batch.values())

        await PlainLoop(KafkaConnection(bootstrap), options, handle).run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
