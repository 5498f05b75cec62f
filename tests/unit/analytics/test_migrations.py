"""Migrations as text: substitution, order, and the ledger's say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from crewstream.analytics.migrations import (
    ChangedMigration,
    Migration,
    Place,
    Standing,
    migrate,
    migrations,
    pending,
    standings,
)

ONE = Migration("0001_one", "CREATE TABLE {db}.a {on_cluster} ENGINE = {engine:Log()};\nSELECT 1;")


def test_alone_the_engine_is_as_written() -> None:
    assert ONE.statements(Place("d")) == ["CREATE TABLE `d`.a  ENGINE = Log()", "SELECT 1"]


def test_on_a_cluster_the_engine_is_replicated() -> None:
    create, _ = ONE.statements(Place("d", "main"))
    where = "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'"
    assert create == f"CREATE TABLE `d`.a ON CLUSTER 'main' ENGINE = ReplicatedLog({where})"


def test_every_statement_of_ours_may_run_again_and_is_for_the_whole_cluster() -> None:
    for migration in migrations():
        for statement in migration.statements(Place("d", "main")):
            again = "IF NOT EXISTS|IF EXISTS|OR REPLACE|MODIFY COLUMN|-- unless:|^INSERT INTO"
            assert re.search(again, statement, re.MULTILINE), migration.name
            # A copied row goes to the other replicas by itself, and a second copy replaces it.
            copies = re.search("^INSERT INTO", statement, re.MULTILINE)
            assert copies or "ON CLUSTER 'main'" in statement, migration.name


def test_ours_are_numbered_without_a_gap() -> None:
    numbers = [int(migration.name.split("_")[0]) for migration in migrations()]
    assert numbers == list(range(1, len(numbers) + 1))


def test_what_the_ledger_has_is_not_pending() -> None:
    two = Migration("0002_two", "SELECT 2;")
    assert pending([ONE, two], {ONE.name: ONE.checksum}) == [two]


def test_a_changed_migration_is_refused_by_name() -> None:
    with pytest.raises(ChangedMigration, match="0001_one: changed after"):
        pending([ONE], {ONE.name: "another"})


def test_a_database_shows_what_is_applied_pending_changed_and_unknown() -> None:
    two, three = Migration("0002_two", "SELECT 2;"), Migration("0003_three", "SELECT 3;")
    found = standings([ONE, two, three], {"0001_one": ONE.checksum, "0002_two": "x", "0004": "y"})
    assert found == [
        Standing("0001_one", "applied", ONE.checksum, ONE.checksum),
        Standing("0002_two", "changed", two.checksum, "x"),
        Standing("0003_three", "pending", three.checksum),
        Standing("0004", "unknown", "", "y"),
    ]


@dataclass
class Database:
    """Keeps the commands; answers a query with what it is told to."""

    answers: Mapping[str, Mapping[str, str]]
    commands: list[str] = field(default_factory=list)

    async def command(self, sql: str) -> None:
        self.commands.append(sql)

    async def pairs(self, sql: str) -> Mapping[str, str]:
        return self.answers.get(sql, {})


@pytest.mark.parametrize(("answer", "runs"), [({}, True), ({"a": "a"}, False)])
async def test_a_statement_that_is_done_already_does_not_run_again(
    answer: Mapping[str, str], runs: bool
) -> None:
    once = Migration("0001_once", "-- unless: SELECT 1, 2\nEXCHANGE TABLES a AND b;")
    database = Database({"SELECT 1, 2": answer})
    assert await migrate(database, Place("d"), [once]) == ["0001_once"]
    assert any("EXCHANGE" in command for command in database.commands) is runs
