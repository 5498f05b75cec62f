"""A process for the runtime tests: `python runtime_process.py ROLE BOOTSTRAP PREFIX DATADIR`.

ROLE "coordinator" keeps, for each key, the ids of the events that it applied, in a row with a
version, and tells `out` of each; {"due_s": n} sets a timer, {"delete": true} deletes the row,
{"read": true} tells the row. ROLE "worker" sleeps {"sleep_s": n} and tells `out` the id.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from crewstream.contracts.connection import KafkaConnection
from crewstream.domain.job import Job
from crewstream.domain.window import Window
from crewstream.ports import Rows
from crewstream.records import Inbound, Outbound
from crewstream.runtime.application import Application
from crewstream.runtime.coordinator_app import coordinator_app
from crewstream.runtime.options import RuntimeOptions
from crewstream.runtime.serve import serve
from crewstream.runtime.worker_app import worker_app

PARTITIONS = 4


class Tally:
    """Pure, and idempotent by event id: what the coordinator promises."""

    def __init__(self, prefix: str) -> None:
        self.rows, self.out, self.signals = prefix + "rows", prefix + "out", prefix + "signals"

    def handle(self, record: Inbound, rows: Rows) -> Sequence[Outbound]:
        key, stored = record.key or b"", rows.get(self.rows, record.key or b"")
        row: dict[str, Any] = json.loads(stored) if stored else {"version": 0, "seen": []}
        if record.topic == self.signals:
            return [self._tell(key, {"fired": key.decode()})] if row.get("due") else []
        event = json.loads(record.value or b"{}")
        if event.get("read"):
            return [self._tell(key, {"read": event["id"], "row": row if stored else None})]
        if event.get("delete"):
            return [Outbound(self.rows, key, None)]
        if event["id"] in row["seen"]:
            return [self._tell(key, {"id": event["id"]})]
        return self._apply(key, row, event)

    def _apply(self, key: bytes, row: dict[str, Any], event: dict[str, Any]) -> list[Outbound]:
        row = {"version": row["version"] + 1, "seen": [*row["seen"], event["id"]]}
        if "due_s" in event:
            row["due"] = (datetime.now(UTC) + timedelta(seconds=event["due_s"])).isoformat()
        value = json.dumps(row).encode()
        return [
            self._tell(key, {"id": event["id"]}),
            Outbound(self.rows, key, value, due_at=self.due(self.rows, value)),
        ]

    def _tell(self, key: bytes, what: dict[str, Any]) -> Outbound:
        return Outbound(self.out, key, json.dumps(what).encode())

    def due(self, _topic: str, value: bytes) -> datetime | None:
        due = json.loads(value).get("due")
        return None if due is None else datetime.fromisoformat(due)

    def fire(self, key: bytes, due: datetime) -> Outbound:
        return Outbound(self.signals, key, due.isoformat().encode())


class Sleeper:
    """A run that takes as long as its record says."""

    def __init__(self, prefix: str) -> None:
        self.out = prefix + "out"

    async def handle(self, record: Inbound) -> Sequence[Outbound]:
        event = json.loads(record.value or b"{}")
        await asyncio.sleep(event.get("sleep_s", 0))
        return [Outbound(self.out, record.key, json.dumps({"id": event["id"]}).encode())]


def job(record: Inbound) -> Job:
    """A job for the window: records of a key run one after the other."""
    key = (record.key or b"").decode()
    return Job(record.position, "tenant", "project", key, key, record.at, record.at)


def make(role: str, bootstrap: str, prefix: str, datadir: Path) -> Application:
    options = RuntimeOptions(
        app_id=prefix + role,
        partitions=PARTITIONS,
        datadir=datadir,
        session_timeout_s=2.0,
        commit_interval_s=0.2,
    )
    kafka = KafkaConnection(bootstrap)
    if role == "worker":
        return worker_app(
            kafka,
            options,
            Sleeper(prefix),
            topics=[prefix + "events"],
            limit=32,
            window=Window(),
            describe=job,
        )
    sources, rows = [prefix + "events", prefix + "signals"], prefix + "rows"
    return coordinator_app(
        kafka, options, Tally(prefix), sources=sources, tables=[rows], timed=[rows]
    )


if __name__ == "__main__":
    role, bootstrap, prefix, datadir = sys.argv[1:]
    sys.exit(asyncio.run(serve(make(role, bootstrap, prefix, Path(datadir)))))
