"""Bytes and events: what is written is read, by newer and by older schemas; the rest is refused."""

from __future__ import annotations

import io
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crewstream.contracts import framing
from crewstream.contracts.avsc import sha256
from crewstream.contracts.codec import Codec
from crewstream.contracts.events import (
    Measured,
    Priority,
    TaskFinished,
    TaskRequest,
    WorkflowRequested,
)
from crewstream.contracts.schemas import Released, Schemas
from crewstream.errors import Invalid, Undecodable, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypothesis.strategies import SearchStrategy

    from crewstream.contracts.avsc import Schema
    from crewstream.contracts.record import Record

SCHEMAS = Schemas.load()
RECORDS = sorted(SCHEMAS.current)
AT = datetime(2026, 7, 1, 12, 30, 0, 123456, tzinfo=UTC)
FOREIGN = 77


@pytest.fixture
def codec() -> Codec:
    return Codec(SCHEMAS)


@pytest.fixture
def request_() -> WorkflowRequested:
    task = TaskRequest(task_id="write", crew="writers")
    return WorkflowRequested(workflow_id="w", project_id="p", requested_at=AT, tasks=(task,))


@pytest.mark.parametrize("record", RECORDS)
@settings(max_examples=25)
@given(data=st.data())
def test_every_event_is_read_as_it_was_written(
    record: str, any_event: Callable[[str], SearchStrategy[Record]], data: st.DataObject
) -> None:
    codec = Codec(SCHEMAS)
    event = data.draw(any_event(record))
    value = codec.encode(event)
    assert codec.decode(value, type(event)) == event
    assert codec.decode_any(value) == event


@pytest.mark.parametrize("record", RECORDS)
@settings(max_examples=25)
@given(data=st.data())
def test_our_bytes_are_those_of_fastavro(
    record: str, any_event: Callable[[str], SearchStrategy[Record]], data: st.DataObject
) -> None:
    event = data.draw(any_event(record))
    value = Codec(SCHEMAS).encode(event)
    header = framing.header(SCHEMAS.id_of(record))
    assert value == header + written(SCHEMAS.current[record], event.model_dump())


def written(schema: Schema, datum: object) -> bytes:
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), datum)
    return stream.getvalue()


def test_a_record_says_which_schema_wrote_it(codec: Codec, request_: WorkflowRequested) -> None:
    value = codec.encode(request_)
    schema_id = SCHEMAS.id_of("WorkflowRequested")
    assert value[:5] == b"\x00" + schema_id.to_bytes(4, "big")
    assert framing.schema_id(value) == schema_id


@pytest.mark.parametrize(
    "value", [None, b"", b"\x00\x00\x00\x03", b"{}   ", b"\x01\x00\x00\x03\xe9"]
)
def test_what_is_not_framed_has_no_schema_id(value: bytes | None) -> None:
    assert framing.schema_id(value) is None


def with_a_new_field(schema: Schema) -> Schema:
    newer = deepcopy(schema)
    newer["fields"].insert(0, {"name": "origin", "type": "string", "default": "?", "doc": "d"})
    return newer


def without_priority(schema: Schema) -> Schema:
    older = deepcopy(schema)
    older["fields"] = [field for field in older["fields"] if field["name"] != "priority"]
    return older


def with_a_new_symbol(schema: Schema) -> Schema:
    newer = deepcopy(schema)
    (priority,) = [field for field in newer["fields"] if field["name"] == "priority"]
    priority["type"]["symbols"].append("yesterday")
    return newer


class Source:
    """A registry that knows one schema."""

    def __init__(self, schema: Schema | None) -> None:
        self._schema = schema

    def schema(self, schema_id: int) -> Schema | None:
        return self._schema if schema_id == FOREIGN else None


def foreign(schema: Schema, event: Record, **more: Any) -> bytes:
    return framing.header(FOREIGN) + written(schema, event.model_dump() | more)


def test_a_field_that_we_do_not_know_is_passed_over(request_: WorkflowRequested) -> None:
    newer = with_a_new_field(SCHEMAS.current["WorkflowRequested"])
    value = foreign(newer, request_, origin="web")
    assert Codec(SCHEMAS, Source(newer)).decode(value, WorkflowRequested) == request_


def test_a_field_that_an_old_producer_does_not_know_gets_its_default(
    request_: WorkflowRequested,
) -> None:
    older = without_priority(SCHEMAS.current["WorkflowRequested"])
    urgent = request_.model_copy(update={"priority": Priority.URGENT})
    event = Codec(SCHEMAS, Source(older)).decode(foreign(older, urgent), WorkflowRequested)
    assert event.priority == Priority.NORMAL


def test_a_symbol_that_we_do_not_know_becomes_the_default(request_: WorkflowRequested) -> None:
    newer = with_a_new_symbol(SCHEMAS.current["WorkflowRequested"])
    value = foreign(newer, request_, priority="yesterday")
    event = Codec(SCHEMAS, Source(newer)).decode(value, WorkflowRequested)
    assert event.priority == Priority.NORMAL


def test_an_earlier_release_is_read_with_todays_schema(request_: WorkflowRequested) -> None:
    """What the history is for: bytes of one version after the next was released."""
    newer = with_a_new_symbol(SCHEMAS.current["WorkflowRequested"])
    version = len(SCHEMAS.history["WorkflowRequested"]) + 1
    released = Released(FOREIGN, "WorkflowRequested", version, sha256(newer), newer)
    grown = replace(
        SCHEMAS,
        current={**SCHEMAS.current, "WorkflowRequested": newer},
        by_id={**SCHEMAS.by_id, FOREIGN: released},
    )
    old = Codec(SCHEMAS).encode(request_)
    codec = Codec(grown)
    assert codec.decode(old, WorkflowRequested) == request_
    assert framing.schema_id(codec.encode(request_)) == FOREIGN


def mandatory(node: Any) -> Any:
    """A schema without the fields that have a default, at every level."""
    if isinstance(node, list):
        return [mandatory(each) for each in node]
    if not isinstance(node, dict):
        return node
    kept = [field for field in node.get("fields", ()) if "default" not in field]
    fields = {"fields": [{**field, "type": mandatory(field["type"])} for field in kept]}
    inner = {key: mandatory(node[key]) for key in ("items", "values") if key in node}
    return node | inner | (fields if "fields" in node else {})


@pytest.mark.parametrize("record", RECORDS)
@given(data=st.data())
def test_every_field_that_a_writer_does_not_know_gets_the_models_default(
    record: str, any_event: Callable[[str], SearchStrategy[Record]], data: st.DataObject
) -> None:
    event = data.draw(any_event(record))
    least = mandatory(SCHEMAS.current[record])
    value = foreign(least, event)
    known = fastavro.schemaless_reader(io.BytesIO(value[framing.HEADER_BYTES :]), least, None)
    read = Codec(SCHEMAS, Source(least)).decode(value, type(event))
    assert read == type(event).model_validate(known)


@pytest.fixture
def value(codec: Codec, request_: WorkflowRequested) -> bytes:
    return codec.encode(request_)


def test_each_kind_of_bad_bytes_is_told_apart(codec: Codec, value: bytes) -> None:
    reasons = {
        None: "is empty",
        b"": "is empty",
        b'{"workflow_id": "w"}': "starts with 0x7b",
        b"\x00\x00": "is 2 bytes",
        b"\x00\x00\x00\x00\x07" + value[5:]: "schema id 7 is unknown",
        value[:-1]: "ends in the middle",
        value[:5]: "ends in the middle",
        value + b"\x00\x00": "2 bytes are left over",
    }
    for bad, told in reasons.items():
        with pytest.raises(Undecodable, match=told):
            codec.decode(bad, WorkflowRequested)


def test_an_event_on_the_wrong_topic_is_refused_by_name(codec: Codec, value: bytes) -> None:
    schema_id = SCHEMAS.id_of("WorkflowRequested")
    told = f"id {schema_id} is WorkflowRequested, but TaskFinished"
    with pytest.raises(Undecodable, match=told) as caught:
        codec.decode(value, TaskFinished)
    assert caught.value.schema_id == schema_id


def test_a_value_that_breaks_the_models_rules_is_refused(request_: WorkflowRequested) -> None:
    """A naive long where a time belongs: plain Avro lets it through, the model does not."""
    wild = deepcopy(SCHEMAS.current["WorkflowRequested"])
    (at,) = [field for field in wild["fields"] if field["name"] == "requested_at"]
    at["type"] = "string"
    ours = {**SCHEMAS.current, "WorkflowRequested": wild}
    codec = Codec(replace(SCHEMAS, current=ours), Source(wild))
    value = foreign(wild, request_, requested_at="soon")
    with pytest.raises(Undecodable, match=r"breaks its own rules: requested_at: ") as caught:
        codec.decode(value, WorkflowRequested)
    assert caught.value.schema_id == FOREIGN


def test_a_record_that_is_none_of_ours_is_refused(request_: WorkflowRequested) -> None:
    alien = SCHEMAS.current["WorkflowRequested"] | {"namespace": "alien"}
    with pytest.raises(Undecodable, match=r"is alien\.WorkflowRequested, none of our events"):
        Codec(SCHEMAS, Source(alien)).decode(foreign(alien, request_), WorkflowRequested)


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ("string", "is no record, none of our events"),
        (["null", "string"], "is no record, none of our events"),
        ({"type": "record", "name": "WorkflowRequested"}, "is WorkflowRequested, none of our"),
        (
            {"type": "array", "name": "crewstream.WorkflowRequested", "items": "nonsense"},
            "is no valid Avro",
        ),
    ],
)
def test_whatever_a_registry_holds_is_refused_in_words(schema: Any, told: str) -> None:
    with pytest.raises(Undecodable, match=told):
        Codec(SCHEMAS, Source(schema)).decode_any(framing.header(FOREIGN) + b"x")


def test_a_name_that_holds_its_namespace_is_the_same_name(request_: WorkflowRequested) -> None:
    spelt = {**SCHEMAS.current["WorkflowRequested"], "name": "crewstream.WorkflowRequested"}
    del spelt["namespace"]
    codec = Codec(SCHEMAS, Source(spelt))
    assert codec.decode(foreign(spelt, request_), WorkflowRequested) == request_


def test_a_schema_that_ours_cannot_be_read_from_is_refused(request_: WorkflowRequested) -> None:
    unlike = deepcopy(SCHEMAS.current["WorkflowRequested"])
    unlike["fields"][0]["type"] = "long"
    value = foreign(unlike, request_, workflow_id=5)
    with pytest.raises(Undecodable, match=r"is no WorkflowRequested of schema id 77"):
        Codec(SCHEMAS, Source(unlike)).decode(value, WorkflowRequested)


def test_a_registry_that_cannot_tell_now_makes_no_dead_letter(value: bytes) -> None:
    class Away:
        def schema(self, schema_id: int) -> Schema | None:
            raise Unreachable(str(schema_id))

    codec = Codec(SCHEMAS, Away())
    codec.decode(value, WorkflowRequested)  # the lock suffices
    with pytest.raises(Unreachable):
        codec.decode(framing.header(FOREIGN) + value[5:], WorkflowRequested)


@given(noise=st.binary(max_size=300), keep=st.integers(5, 60))
def test_spoilt_bytes_never_raise_anything_but_undecodable(noise: bytes, keep: int) -> None:
    codec = Codec(SCHEMAS)
    task = TaskRequest(task_id="write", crew="writers")
    event = WorkflowRequested(workflow_id="w", project_id="p", requested_at=AT, tasks=(task,))
    with suppress(Undecodable):
        codec.decode(codec.encode(event)[:keep] + noise, WorkflowRequested)


@pytest.mark.parametrize(
    ("field", "held"),
    [
        ("input_tokens", 2**63),
        ("attempt", 2**31),
        ("cost_usd", Decimal("0.0000000001")),
        ("cost_usd", Decimal(10**10)),
        ("tenant_id", "\ud800"),
    ],
)
def test_what_the_schema_has_no_room_for_is_not_written(
    codec: Codec, field: str, held: object
) -> None:
    fields: dict[str, Any] = {
        "event_id": "e",
        "occurred_at": AT,
        "tenant_id": "t",
        "project_id": "p",
    }
    event = Measured(**fields).model_copy(update={field: held})
    with pytest.raises(Invalid, match="Measured cannot be written"):
        codec.encode(event)
