"""The models are those of the .avsc files, word for word."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel, ValidationError

from crewstream.contracts import codegen, events
from crewstream.contracts.avsc import named_types
from crewstream.contracts.record import Record
from crewstream.contracts.shipped import shipped

if TYPE_CHECKING:
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
