"""The models are those of the .avsc files, word for word."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from crewstream.contracts import codegen, events
from crewstream.contracts.avsc import named_types
from crewstream.contracts.codec import Codec
from crewstream.contracts.record import Record, trusted
from crewstream.contracts.shipped import shipped
from crewstream.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypothesis.strategies import SearchStrategy

    from crewstream.contracts.schemas import Schemas


def test_the_models_are_current() -> None:
    """Run `crewstream schemas generate` when this fails."""
    generated = codegen.generate(shipped() / "schemas" / "avro")
    assert Path(str(events.__file__)).read_text("utf-8") == generated


def test_every_record_has_a_model_with_the_same_fields(schemas: Schemas) -> None:
    known: dict[str, Any] = {
        each["name"]: each for schema in schemas.current.values() for each in named_types(schema)
    }
    records = {name: each for name, each in known.items() if each["type"] == "record"}
    assert {model.__name__ for model in Record.__subclasses__()} == records.keys()
    for name, record in records.items():
        fields = getattr(events, name).model_fields
        assert list(fields) == [field["name"] for field in record["fields"]], name
        for field in record["fields"]:
            required = fields[field["name"]].is_required()
            assert required == ("default" not in field), f"{name}.{field['name']}"


def test_every_enum_has_the_same_symbols(schemas: Schemas) -> None:
    for schema in schemas.current.values():
        for each in named_types(schema):
            if each["type"] == "enum":
                assert [str(symbol) for symbol in getattr(events, each["name"])] == each["symbols"]


def test_an_event_is_a_frozen_value() -> None:
    task = events.TaskRequest(task_id="a", crew="c", depends_on=("b",))
    with pytest.raises(ValidationError, match="frozen"):
        task.crew = "d"
    assert len({task, task.model_copy()}) == 1
    with pytest.raises(ValidationError, match="urgency"):
        events.TaskRequest.model_validate({"task_id": "a", "crew": "c", "urgency": 1})


def test_a_changed_record_is_what_pydantic_would_have_made() -> None:
    """Guards `Record.changed`, which fills a model's slots by name."""
    failure = events.Failure(error_type="a", message="b")
    changed = failure.changed({"message": "c"})
    assert changed == failure.model_copy(update={"message": "c"})
    assert changed == events.Failure(error_type="a", message="c")
    assert changed.model_dump() == {**failure.model_dump(), "message": "c"}
    assert failure.message == "b"
    assert hash(changed) == hash(failure.model_copy(update={"message": "c"}))
    slots = {"__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__"}
    assert set(BaseModel.__slots__) == slots, "pydantic keeps more in a model than we fill"


@pytest.mark.parametrize("record", ["Measured", "TaskAssigned", "WorkflowFinished"])
@settings(max_examples=25)
@given(data=st.data())
def test_a_trusted_record_is_what_pydantic_would_have_made(
    record: str, any_event: Callable[[str], SearchStrategy[Record]], data: st.DataObject
) -> None:
    """With all of its fields, and with those alone that have no default."""
    event = data.draw(any_event(record))
    model = type(event)
    required = {n: v for n, v in event.__dict__.items() if model.model_fields[n].is_required()}
    for fields in (event.__dict__, required):
        made, validated = trusted(model)(**fields), model(**fields)
        assert made == validated
        assert made.model_dump() == validated.model_dump()
        assert made.model_copy() == validated


def test_a_trusted_record_without_a_field_that_it_needs_cannot_be_written(schemas: Schemas) -> None:
    incomplete: Any = trusted(events.TaskRequest)
    with pytest.raises(Invalid, match="TaskRequest"):
        Codec(schemas).encode(incomplete(task_id="a"))


def test_a_trusted_record_is_frozen_as_well() -> None:
    failure = trusted(events.Failure)(error_type="a", message="b")
    with pytest.raises(ValidationError, match="frozen"):
        failure.message = "c"
