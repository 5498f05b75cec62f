"""docs/analytics.md names every column and every query that there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from crewstream.analytics import library, migrations, rules

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "analytics.md").read_text("utf-8")
TABLE = re.compile(r"CREATE TABLE IF NOT EXISTS \{db\}\.(\w+) [^;]*?\n\((.*?)\n\)", re.DOTALL)
COLUMN = re.compile(r"^    (?!INDEX|CONSTRAINT)(\w+) [A-Z]", re.MULTILINE)
ALTER = re.compile(r"ALTER TABLE \{db\}\.(\w+) (.*?);\n", re.DOTALL)
ADDED = re.compile(r"ADD COLUMN IF NOT EXISTS (\w+) [A-Z].*? AFTER (\w+)[,;\n]", re.DOTALL)
SQL = "\n".join(each.sql for each in migrations.migrations())
TABLES = {name: COLUMN.findall(body) for name, body in TABLE.findall(SQL)}
for changed, changes in ALTER.findall(SQL):
    for added, before in ADDED.findall(changes):
        TABLES[changed].insert(TABLES[changed].index(before) + 1, added)


def section(table: str) -> str:
    return DOCS.partition(f"## `{table}`")[2].partition("\n## ")[0]


@pytest.mark.parametrize(
    "table", ["events", "transitions", "dead_letters", "slo", "recommendations"]
)
def test_every_column_is_described(table: str) -> None:
    described = re.findall(r"^\| `(\w+)` \| `[^`]+` \| .+ \|$", section(table), re.MULTILINE)
    assert described == TABLES[table]


def test_every_table_has_its_section() -> None:
    assert [name for name in TABLES if not section(name)] == []


def test_every_query_is_listed() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", section_of_queries(), re.MULTILINE)
    assert listed == sorted(library.queries())


def test_every_rule_is_listed() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", DOCS.partition("## Advice")[2], re.MULTILINE)
    assert listed == sorted(rules.rules())


def section_of_queries() -> str:
    return DOCS.partition("## Ready-made queries")[2].partition("\n## ")[0]
