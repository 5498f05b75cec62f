"""Every Avro field against its column: FORMAT Avro converts some types wrongly, without a word."""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any

import pytest

from crewstream.adapters.clickhouse import connect
from crewstream.analytics.migrations import Place, migrate
from crewstream.contracts.schemas import Schemas

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

SCHEMAS = Schemas.load().current
TABLES = {"events": "Measured", "transitions": "WorkflowState"}
# Requests and results as bytes: for the coordinator alone, of no use in a query.
WITHOUT_COLUMN = {"transitions": {"payloads"}, "events": set[str]()}

# Avro -> the columns that hold every value of it as it is. Anything else is refused, above all what
# ClickHouse would store wrongly and say nothing: double -> Decimal, a timestamp of another scale,
# a negative or large number -> UIntN, a long -> Int32.
PRIMITIVES = {
    "string": {"String", "LowCardinality(String)"},
    "boolean": {"Bool"},
    "int": {"Int32", "Int64"},
    "long": {"Int64"},
    "float": {"Float32", "Float64"},
    "double": {"Float64"},
    "bytes": {"String"},
}
LOGICAL = {
    "timestamp-micros": {"DateTime64(6, 'UTC')"},
    "timestamp-millis": {"DateTime64(3, 'UTC')"},
    "uuid": {"UUID"},
}


DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 9}


def expected(avro: Any, named: dict[str, Any]) -> set[str]:
    """The column types that an Avro type may have."""
    if isinstance(avro, list):
        (inner,) = [branch for branch in avro if branch != "null"]
        kinds = expected(inner, named)
        # A Tuple takes its defaults for null; a number that may be missing must not become 0.
        tuples = {kind for kind in kinds if kind.startswith("Tuple(")}
        return tuples | {f"Nullable({kind})" for kind in kinds - tuples}
    if isinstance(avro, str):
        return expected(named[avro], named) if avro in named else PRIMITIVES[avro]
    if "name" in avro:
        named[avro["name"]] = avro
    return _complex(avro, named)


def _complex(avro: dict[str, Any], named: dict[str, Any]) -> set[str]:
    kind, logical = avro["type"], avro.get("logicalType")
    if logical:
        decimal = f"Decimal({avro.get('precision')}, {avro.get('scale')})"
        return {decimal} if logical == "decimal" else LOGICAL[logical]
    if kind == "enum":
        return {"LowCardinality(String)"}
    if kind == "array":
        return {f"Array({item})" for item in expected(avro["items"], named)}
    if kind == "map":
        values = expected(avro["values"], named)
        keys = ("String", "LowCardinality(String)")
        return {f"Map({key}, {value})" for key in keys for value in values}
    if kind == "record":
        return {"Tuple(" + ", ".join(_fields(avro, named)) + ")"}
    return expected(kind, named)


def _fields(avro: dict[str, Any], named: dict[str, Any]) -> list[str]:
    """A field of a Tuple, as a regular expression where its type may be one of several."""
    return [
        f"{field['name']} <{'|'.join(sorted(expected(field['type'], named)))}>"
        for field in avro["fields"]
    ]


def fits(avro: Any, column: str, named: dict[str, Any]) -> bool:
    """Whether a column holds every value of an Avro type as it is."""
    return any(re.fullmatch(_pattern(kind), column) for kind in expected(avro, named))


def _pattern(kind: str) -> str:
    return re.escape(kind).replace("<", "(?:").replace(">", ")").replace(r"\|", "|")


def mismatches(schema: dict[str, Any], columns: Mapping[str, str]) -> list[str]:
    """What is wrong, one line a field."""
    named: dict[str, Any] = {}
    found = []
    for field in schema["fields"]:
        column = columns.get(field["name"])
        if column is None:
            found.append(f"{field['name']}: no column")
        elif not allowed(field, column, named):
            found.append(f"{field['name']}: {field['type']} into {column}")
    return found


def allowed(field: dict[str, Any], column: str, named: dict[str, Any]) -> bool:
    """The one exception: an id that is documented as a UUID; ClickHouse refuses any other text."""
    if field["name"] == "event_id" and field["doc"].startswith("UUID"):
        return column == "UUID"
    return fits(field["type"], column, named)


@pytest.fixture
async def columns(tmp_path: Path) -> AsyncIterator[Mapping[str, Mapping[str, str]]]:
    """Table -> column -> type, as the engine understands our migrations."""
    sql = "SELECT table, name, type FROM system.columns WHERE database = 'crewstream'"
    async with connect(f"chdb://{tmp_path}/data") as analytics:
        await migrate(analytics, Place(analytics.database))
        found: dict[str, dict[str, str]] = {}
        for table, name, kind in (await analytics.query(sql)).rows:
            found.setdefault(table, {})[name] = kind
        yield found


async def test_every_field_has_a_column_that_holds_it(
    columns: Mapping[str, Mapping[str, str]],
) -> None:
    wrong = {t: mismatches(SCHEMAS[record], columns[t]) for t, record in TABLES.items()}
    assert wrong == {
        table: [f"{name}: no column" for name in names] for table, names in WITHOUT_COLUMN.items()
    }


async def test_every_table_knows_where_its_rows_came_from(
    columns: Mapping[str, Mapping[str, str]],
) -> None:
    for table in (*TABLES, "dead_letters"):
        kinds = [columns[table][name] for name in ("_partition", "_offset")]
        assert kinds == ["Int32", "Int64"], table


async def test_the_latest_state_of_a_workflow_has_all_that_a_transition_has(
    columns: Mapping[str, Mapping[str, str]],
) -> None:
    latest = {name: kind for name, kind in columns["workflow_latest"].items() if name != "_order"}
    assert latest == columns["transitions"]
    assert columns["workflow_latest_feed"] == columns["workflow_latest"]


async def test_the_sums_of_days_have_all_that_those_of_hours_have(
    columns: Mapping[str, Mapping[str, str]],
) -> None:
    hours = {name: kind for name, kind in columns["rollup_1h"].items() if name != "hour"}
    assert {n: k for n, k in columns["rollup_1d"].items() if n != "day"} == hours


@pytest.mark.parametrize(
    ("avro", "column"),
    [
        ("double", "Decimal(18, 9)"),
        ("float", "Decimal(18, 9)"),
        ("long", "Decimal(18, 9)"),
        ("long", "UInt64"),
        ("long", "Int32"),
        ("int", "UInt16"),
        ({"type": "long", "logicalType": "timestamp-micros"}, "DateTime64(3, 'UTC')"),
        ({"type": "long", "logicalType": "timestamp-millis"}, "DateTime64(6, 'UTC')"),
        ({"type": "long", "logicalType": "timestamp-millis"}, "DateTime('UTC')"),
        ({"type": "long", "logicalType": "timestamp-micros"}, "DateTime('UTC')"),
        (DECIMAL, "Decimal(18, 6)"),
        (DECIMAL, "Decimal(38, 9)"),
        (DECIMAL, "Float64"),
        ("int", "Decimal(9, 0)"),
        ("int", "UInt64"),
        ("long", "UInt8"),
        ("long", "Float64"),
        ("string", "JSON"),
        ("string", "UUID"),
        (["null", "long"], "Int64"),
        ({"type": "map", "values": ["null", "string"]}, "Map(String, String)"),
        ({"type": "array", "items": "long"}, "Array(UInt64)"),
        ({"type": "array", "items": "double"}, "Array(Decimal(18, 9))"),
        (["null", "double"], "Float64"),
        ("string", "Enum8('a' = 1)"),
        ({"type": "map", "values": "string"}, "Map(String, Int64)"),
    ],
)
def test_the_silent_mismatches_are_refused(avro: Any, column: str) -> None:
    assert not fits(avro, column, {})


async def test_a_column_of_the_wrong_shape_is_named(
    columns: Mapping[str, Mapping[str, str]],
) -> None:
    schema = copy.deepcopy(SCHEMAS["WorkflowState"])
    (tasks,) = [field for field in schema["fields"] if field["name"] == "tasks"]
    del tasks["type"]["items"]["fields"][0]
    found = mismatches({"fields": [tasks]}, columns["transitions"])
    assert [line.partition(":")[0] for line in found] == ["tasks"]


async def test_a_field_without_a_column_is_named(
    columns: Mapping[str, Mapping[str, str]],
) -> None:
    schema = {"fields": [{"name": "shiny", "type": "string", "doc": ""}]}
    assert mismatches(schema, columns["events"]) == ["shiny: no column"]
