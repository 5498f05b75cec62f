"""Migrations as text: substitution, order, and the ledger's say."""

from __future__ import annotations

import re

import pytest

from crewstream.analytics.migrations import ChangedMigration, Migration, Place, migrations, pending

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
            assert re.search("IF NOT EXISTS|OR REPLACE|MODIFY COLUMN", statement), migration.name
            assert "ON CLUSTER 'main'" in statement, migration.name


def test_ours_are_numbered_without_a_gap() -> None:
    numbers = [int(migration.name.split("_")[0]) for migration in migrations()]
    assert numbers == list(range(1, len(numbers) + 1))


def test_what_the_ledger_has_is_not_pending() -> None:
    two = Migration("0002_two", "SELECT 2;")
    assert pending([ONE, two], {ONE.name: ONE.checksum}) == [two]


def test_a_changed_migration_is_refused_by_name() -> None:
    with pytest.raises(ChangedMigration, match="0001_one: changed after"):
        pending([ONE], {ONE.name: "another"})
