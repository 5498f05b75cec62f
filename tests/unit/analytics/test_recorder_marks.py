"""Marks behind dead letters are no letters to the recorder."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from crewstream.contracts import letters
from crewstream.contracts.codec import Codec
from crewstream.contracts.letters import Mark
from crewstream.contracts.schemas import Schemas
from crewstream.errors import Undecodable
from crewstream.processors.recorder import Recorder, Topics
from crewstream.records import Inbound

TOPICS = Topics(metrics="x.metrics", state="x.workflow.state", dead_letters="x.dead-letters")


class Rows:
    """Keeps rows; nothing else is asked of it here."""

    def __init__(self) -> None:
        self.inserts: list[Sequence[Sequence[object]]] = []

    async def columns(self, table: str) -> Collection[str]:
        raise AssertionError(table)

    async def insert_avro(
        self, table: str, columns: Sequence[str], block: bytes, token: str
    ) -> None:
        raise AssertionError(table, columns, block, token)

    async def insert_rows(
        self, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]], token: str
    ) -> None:
        assert table == "dead_letters"
        assert columns
        assert token
        self.inserts.append(rows)


async def test_a_mark_becomes_no_row() -> None:
    schemas, store = Schemas.load(), Rows()
    recorder = Recorder(store, Codec(schemas), schemas, TOPICS)
    out = Inbound("x.tasks", 0, 5, b"k", b"?", (), 0).dead_letter(
        TOPICS.dead_letters, Undecodable()
    )
    letter = Inbound(TOPICS.dead_letters, 0, 0, out.key, out.value, out.headers, 0)
    marking = letters.marking(letters.read(out.headers, ""), Mark.REPLAYED, datetime.now(UTC))
    mark = Inbound(TOPICS.dead_letters, 0, 1, out.key, b"", marking, 0)
    assert await recorder.record([[letter, mark]]) == []
    assert await recorder.record([[mark]]) == []
    [[row]] = store.inserts
    assert row[2] == 5
