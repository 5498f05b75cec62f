"""Records of another schema version than ours still become rows."""

from __future__ import annotations

import copy
import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import fastavro

from crewstream.contracts import framing
from crewstream.contracts.codec import Codec
from crewstream.contracts.schemas import Released, Schemas
from crewstream.processors.recorder import Recorder, Topics
from crewstream.records import Inbound

OTHER_ID = 77
NOW = datetime(2026, 1, 1, tzinfo=UTC)
NOTHING = Decimal(0)  # fastavro cannot write the default of a decimal by itself
USAGE = {
    "input_tokens": 0,
    "output_tokens": 0,
    "cached_tokens": 0,
    "llm_calls": 0,
    "tool_calls": 0,
    "cost_usd": NOTHING,
}
MEASURED = {
    "event_id": "e",
    "occurred_at": NOW,
    "tenant_id": "t",
    "project_id": "p",
    "cost_usd": NOTHING,
}


@dataclass
class Columns:
    """Keeps the columns and rows of each insert."""

    inserted: list[tuple[Sequence[str], list[Any]]] = field(default_factory=list)

    async def columns(self, table: str) -> Sequence[str]:
        record = {"events": "Measured", "transitions": "WorkflowState"}[table]
        return [f["name"] for f in Schemas.load().current[record]["fields"]]

    async def insert_avro(
        self, table: str, columns: Sequence[str], block: bytes, token: str
    ) -> None:
        assert table
        assert token
        self.inserted.append((columns, list(fastavro.reader(io.BytesIO(block)))))

    async def insert_rows(
        self, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]], token: str
    ) -> None:
        raise NotImplementedError


async def recorded(schema: dict[str, Any], datum: dict[str, Any]) -> tuple[Sequence[str], Any]:
    """What becomes of one datum that was written with a schema that is not ours."""
    known = Schemas.load()
    other = Released(OTHER_ID, schema["name"], 0, "", schema)
    schemas = replace(known, by_id={**known.by_id, OTHER_ID: other})
    stream = io.BytesIO()
    stream.write(framing.header(OTHER_ID))
    fastavro.schemaless_writer(stream, fastavro.parse_schema(copy.deepcopy(schema)), datum)
    store = Columns()
    recorder = Recorder(store, Codec(schemas), schemas, Topics("m", "s", "d"))
    topic = "m" if schema["name"] == "Measured" else "s"
    record = Inbound(topic, 0, 0, b"k", stream.getvalue(), (), 0)
    assert await recorder.record([[record]]) == []
    ((columns, (row,)),) = store.inserted
    return columns, row


async def test_fields_of_a_newer_writer_that_have_no_column_are_left_out() -> None:
    schema = copy.deepcopy(Schemas.load().current["Measured"])
    schema["fields"].insert(0, {"name": "shiny", "type": "string", "default": "", "doc": "New."})
    columns, row = await recorded(schema, {"shiny": "x", **MEASURED})
    assert "shiny" not in columns
    assert row["shiny"] == "x", "the datum itself is not touched"


async def test_columns_that_an_older_writer_did_not_know_are_left_out() -> None:
    schema = copy.deepcopy(Schemas.load().current["Measured"])
    schema["fields"] = [f for f in schema["fields"] if f["name"] != "attributes"]
    columns, _ = await recorded(schema, MEASURED)
    assert "attributes" not in columns
    assert "event_id" in columns


async def test_a_nested_record_of_another_shape_is_rewritten_with_our_schema() -> None:
    schema = copy.deepcopy(Schemas.load().current["WorkflowState"])
    (tasks,) = [f for f in schema["fields"] if f["name"] == "tasks"]
    fields = tasks["type"]["items"]["fields"]
    fields.append({"name": "shiny", "type": "string", "default": "", "doc": "New."})
    datum = {
        "workflow_id": "w",
        "tenant_id": "t",
        "project_id": "p",
        "version": 1,
        "requested_at": NOW,
        "accepted_at": NOW,
        "updated_at": NOW,
        "usage": USAGE,
        "max_cost_usd": NOTHING,
        "tasks": [
            {"task_id": "a", "project_id": "p", "crew": "c", "task_type": "x", "usage": USAGE}
        ],
    }
    columns, row = await recorded(schema, datum)
    assert "tasks" in columns
    assert row["tasks"][0]["task_id"] == "a"
    assert "shiny" not in row["tasks"][0]
