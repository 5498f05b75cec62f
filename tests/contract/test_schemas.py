"""The rules of schemas/avro: they hold, and each of them bites."""

from __future__ import annotations

import json
import shutil
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest

from crewstream.contracts import compatibility, schema_rules
from crewstream.contracts.avsc import combined, read_avsc
from crewstream.contracts.lock import lock
from crewstream.contracts.schemas import LOCK, Schemas
from crewstream.contracts.shipped import shipped
from crewstream.errors import SchemaConflict

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from crewstream.contracts.avsc import Schema
    from crewstream.contracts.topics import Topics

AMOUNT = {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 9}
AT = {"type": "long", "logicalType": "timestamp-micros"}
MOOD = {"type": "enum", "name": "Mood", "doc": "d", "symbols": ["calm", "bad"], "default": "calm"}
COST = {
    "type": "record",
    "name": "Cost",
    "doc": "d",
    "fields": [{"name": "usd", "type": "long", "doc": "d", "default": 0}],
}


def field(name: str, kind: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "doc": "d"} | more


def released() -> Schema:
    fields = [
        field("id", "string"),
        field("at", ["null", AT], default=None),
        field("amount", {"type": "array", "items": AMOUNT}, default=[]),
        field("mood", MOOD, default="calm"),
        field("cost", COST, default={"usd": 0}),
    ]
    record = {"type": "record", "namespace": "crewstream", "name": "Thing", "doc": "d"}
    return deepcopy(record | {"fields": fields})


def test_our_schemas_break_no_rule(schemas: Schemas, topics: Topics) -> None:
    assert schema_rules.findings(schemas, topics.subjects()) == []


def test_our_schemas_are_compatible_with_every_released_version(
    schemas: Schemas, topics: Topics
) -> None:
    assert compatibility.incompatibilities(schemas, topics.modes()) == []
    assert topics.modes().keys() == schemas.current.keys()


def test_a_good_schema_passes() -> None:
    assert list(schema_rules.style("Thing", released())) == []
    assert list(schema_rules.changes(released(), released())) == []


def without_doc(new: Schema) -> None:
    del new["fields"][1]["doc"]


def without_record_doc(new: Schema) -> None:
    del new["fields"][4]["type"]["doc"]


def without_enum_default(new: Schema) -> None:
    del new["fields"][3]["type"]["default"]


def with_enum_default_of_its_own(new: Schema) -> None:
    new["fields"][3]["type"]["default"] = "merry"


def with_a_default_unlike_the_record(new: Schema) -> None:
    new["fields"][4]["default"] = {"usd": 7}


def in_another_namespace(new: Schema) -> None:
    new["namespace"] = "elsewhere"


def with_another_name(new: Schema) -> None:
    new["name"] = "Thingy"


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (without_doc, "Thing.at has no doc"),
        (without_record_doc, "Cost has no doc"),
        (without_enum_default, "enum Mood has no default"),
        (with_enum_default_of_its_own, "enum Mood has no default among its symbols"),
        (with_a_default_unlike_the_record, "Thing.cost must default to Cost"),
        (in_another_namespace, "must hold the record crewstream.Thing"),
        (with_another_name, "must hold the record crewstream.Thing"),
    ],
)
def test_bad_style_is_found(spoil: Callable[[Schema], None], told: str) -> None:
    bad = released()
    spoil(bad)
    assert any(told in found for found in schema_rules.style("Thing", bad))


def millis(new: Schema) -> None:
    new["fields"][1]["type"] = ["null", AT | {"logicalType": "timestamp-millis"}]


def plain_long(new: Schema) -> None:
    new["fields"][1]["type"] = ["null", "long"]


def another_scale(new: Schema) -> None:
    new["fields"][2]["type"] = {"type": "array", "items": AMOUNT | {"scale": 6}}


def another_precision(new: Schema) -> None:
    new["fields"][2]["type"] = {"type": "array", "items": AMOUNT | {"precision": 12}}


def symbols_in_another_order(new: Schema) -> None:
    new["fields"][3]["type"]["symbols"] = ["bad", "calm"]


def one_symbol_less(new: Schema) -> None:
    new["fields"][3]["type"]["symbols"] = ["calm"]


def a_field_without_default(new: Schema) -> None:
    new["fields"].append(field("who", "string"))


def a_string_that_is_money(new: Schema) -> None:
    new["fields"][0]["type"] = AMOUNT


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (millis, "Thing.at was timestamp-micros"),
        (plain_long, "Thing.at was timestamp-micros"),
        (another_scale, "Thing.amount[] was decimal, 18, 9"),
        (another_precision, "Thing.amount[] was decimal, 18, 9"),
        (a_string_that_is_money, "Thing.id was plain"),
        (symbols_in_another_order, "Mood: symbols are only ever appended"),
        (one_symbol_less, "Mood: symbols are only ever appended"),
        (a_field_without_default, "Thing.who is new and has no default"),
        (in_another_namespace, "the namespace was crewstream"),
    ],
)
def test_a_bad_change_is_found(spoil: Callable[[Schema], None], told: str) -> None:
    bad = released()
    spoil(bad)
    assert any(told in found for found in schema_rules.changes(released(), bad))


def a_field_with_default(new: Schema) -> None:
    new["fields"].append(field("who", "string", default=""))


def a_symbol_more(new: Schema) -> None:
    new["fields"][3]["type"]["symbols"].append("merry")


def a_branch_more(new: Schema) -> None:
    new["fields"][1]["type"] = ["null", AT, "string"]


def other_words(new: Schema) -> None:
    new["fields"][0]["doc"] = "better said"


@pytest.mark.parametrize("grow", [a_field_with_default, a_symbol_more, other_words])
def test_a_harmless_change_passes_every_rule(grow: Callable[[Schema], None]) -> None:
    new = released()
    grow(new)
    assert list(schema_rules.changes(released(), new)) == []
    assert compatibility.incompatible(new, [released()], full=True) == []


def test_what_only_old_readers_cannot_read_is_found_in_full_mode_only() -> None:
    new = released()
    a_branch_more(new)
    assert compatibility.incompatible(new, [released()], full=False) == []
    (told,) = compatibility.incompatible(new, [released()], full=True)
    assert told.startswith("Thing version 1 cannot read the new schema: /fields/1")


def test_every_released_version_is_compared_not_only_the_last() -> None:
    first, second, third = released(), released(), released()
    first["fields"].append(field("size", "string", default=""))
    third["fields"].append(field("size", "long", default=0))
    assert compatibility.incompatible(third, [second], full=True) == []
    assert any(
        "version 1" in told
        for told in compatibility.incompatible(third, [first, second], full=True)
    )


def test_one_name_for_two_types_is_found() -> None:
    other = released() | {"name": "Other"}
    other["fields"][3]["type"]["symbols"].append("merry")
    (told,) = schema_rules.shared({"Thing": released(), "Other": other})
    assert told.startswith("Mood is one thing in Thing.avsc and another in Other.avsc")
    with pytest.raises(SchemaConflict):
        combined({"Thing": released(), "Other": other})


def test_a_schema_that_no_topic_carries_is_found() -> None:
    assert list(schema_rules.orphans({"Thing": {}}, ["Other"])) == [
        "Thing.avsc: no topic carries it",
        "Other: there is no Other.avsc",
    ]


@pytest.fixture
def avro(tmp_path: Path) -> Path:
    """A copy of schemas/avro that may be spoilt."""
    return shutil.copytree(shipped() / "schemas" / "avro", tmp_path / "avro")


def change(path: Path) -> None:
    schema = json.loads(path.read_text())
    schema["fields"].append(field("who", "string", default=""))
    path.write_text(json.dumps(schema))


def test_a_change_that_is_not_locked_is_found(avro: Path, topics: Topics) -> None:
    change(avro / "Measured.avsc")
    schemas = Schemas.load(avro)
    assert schema_rules.findings(schemas, topics.subjects()) == [
        "Measured.avsc is not released; run `crewstream schemas lock`"
    ]
    with pytest.raises(SchemaConflict, match="schemas lock"):
        schemas.id_of("Measured")


def test_locking_appends_a_version_and_an_id_and_rewrites_nothing(
    avro: Path, topics: Topics
) -> None:
    before = Schemas.load(avro)
    change(avro / "WorkflowRequested.avsc")

    added = lock(avro, topics.subjects())

    after = Schemas.load(avro)
    assert added == [f"WorkflowRequested version {len(after.history['WorkflowRequested'])}"]
    assert len(after.history["WorkflowRequested"]) == len(before.history["WorkflowRequested"]) + 1
    assert after.by_id.items() > before.by_id.items()
    assert after.id_of("WorkflowRequested") == max(before.by_id) + 1
    assert schema_rules.findings(after, topics.subjects()) == []
    assert lock(avro, topics.subjects()) == []


def test_a_record_has_the_same_id_under_every_subject(avro: Path, topics: Topics) -> None:
    before = Schemas.load(avro)
    assert lock(avro, {**topics.subjects(), "archive-value": "Measured"}) == [
        "subject archive-value"
    ]
    after = Schemas.load(avro)
    assert after.subjects["archive-value"] == before.subjects["metrics-value"]
    assert after.by_id == before.by_id


def test_a_subject_without_lock_is_found(schemas: Schemas) -> None:
    found = schema_rules.findings(schemas, {"archive-value": "Measured"})
    assert "archive-value: version 1 is not in the lock; run `crewstream schemas lock`" in found


def test_a_released_version_that_was_changed_is_refused(avro: Path) -> None:
    change(avro / "history" / "Measured" / "1.avsc")
    with pytest.raises(SchemaConflict, match=r"Measured/1.avsc is not what was locked as id"):
        Schemas.load(avro)


def test_a_released_version_that_is_gone_is_refused(avro: Path) -> None:
    *_, newest = sorted((avro / "history" / "Measured").iterdir())
    newest.unlink()
    with pytest.raises(SchemaConflict, match="is not there"):
        Schemas.load(avro)


def test_a_gap_in_the_history_is_refused(avro: Path) -> None:
    (avro / "history" / "Measured" / "1.avsc").unlink()
    with pytest.raises(SchemaConflict, match=r"they must be 1\.\.n"):
        Schemas.load(avro)


def test_white_space_and_the_order_of_keys_do_not_make_a_version(
    avro: Path, topics: Topics
) -> None:
    path = avro / "Measured.avsc"
    path.write_text(json.dumps(json.loads(path.read_text()), sort_keys=True))
    assert lock(avro, topics.subjects()) == []


def test_ids_begin_where_a_registry_of_ones_own_does_not(avro: Path) -> None:
    locked = json.loads((avro / LOCK).read_text())["subjects"]
    ids = [entry["id"] for versions in locked.values() for entry in versions.values()]
    assert min(ids) == 1001
    assert read_avsc(avro).keys() == {
        entry["record"] for versions in locked.values() for entry in versions.values()
    }
