"""Brings the tables of a database up to date: numbered .sql files, a checksum of each, a ledger."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from crewstream.analytics.library import files
from crewstream.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LEDGER = """
CREATE TABLE IF NOT EXISTS {db}.migrations {on_cluster}
(name String, checksum String, applied_at DateTime64(3, 'UTC') DEFAULT now64(3))
ENGINE = {engine:ReplacingMergeTree(applied_at)} ORDER BY name
"""
_HAS_LEDGER = """
SELECT name, name FROM system.tables
WHERE '{db}' = concat('`', database, '`') AND name = 'migrations'
"""
_ENGINE = re.compile(r"\{engine:(\w+)\(([^)]*)\)\}")
_END = re.compile(r";[ \t]*$", re.MULTILINE)
_UNLESS = re.compile(r"^-- unless: (.+)$", re.MULTILINE)

State = Literal["applied", "pending", "changed", "unknown"]
"""`changed`: reads otherwise than when it was applied; `unknown`: was applied, is not shipped."""


class ChangedMigration(Invalid):
    """A migration was changed after it had been applied."""


class Database(Protocol):
    """What migrations need of a ClickHouse."""

    async def command(self, sql: str) -> None: ...

    async def pairs(self, sql: str) -> Mapping[str, str]:
        """A query of two columns, as first column -> second."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where the tables are made: a database, and the name of the cluster if there is one."""

    database: str
    cluster: str | None = None

    def rendered(self, sql: str) -> str:
        """`sql` with `{db}`, `{on_cluster}` and `{engine:Name(args)}` filled in."""
        on_cluster = f"ON CLUSTER '{self.cluster}'" if self.cluster else ""
        sql = sql.replace("{db}", f"`{self.database}`").replace("{on_cluster}", on_cluster)
        return _ENGINE.sub(self._engine, sql)

    def _engine(self, match: re.Match[str]) -> str:
        name, arguments = match.groups()
        if not self.cluster:
            return f"{name}({arguments})"
        where = "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'"
        return f"Replicated{name}({', '.join(filter(None, (where, arguments)))})"


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: `name` is its stem, `sql` its text before substitution."""

    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()

    def statements(self, place: Place) -> Sequence[str]:
        """The statements in order; one ends with a semicolon at the end of a line."""
        return [one.strip() for one in _END.split(place.rendered(self.sql)) if one.strip()]


def migrations() -> Sequence[Migration]:
    """Every migration that is shipped, in order."""
    return [Migration(name, text) for name, text in files("migrations").items()]


def pending(known: Sequence[Migration], ledger: Mapping[str, str]) -> Sequence[Migration]:
    """The migrations that `ledger` (name -> checksum) does not have.

    Raises ChangedMigration if one that it has reads otherwise today.
    """
    changed = [m.name for m in known if ledger.get(m.name, m.checksum) != m.checksum]
    if changed:
        raise ChangedMigration(
            f"{', '.join(changed)}: changed after it had been applied to this database; "
            "put the file back as it was and write the change as a new migration"
        )
    return [m for m in known if m.name not in ledger]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a migration stands to a database; the checksums are those of the file and the ledger."""

    name: str
    state: State
    file: str = ""
    ledger: str = ""


def standings(known: Sequence[Migration], ledger: Mapping[str, str]) -> Sequence[Standing]:
    """Every migration that is shipped or was applied, in order."""
    files = {migration.name: migration.checksum for migration in known}
    return [
        Standing(name, _state(files.get(name), ledger.get(name)), files.get(name, ""), was)
        for name in sorted(files.keys() | ledger.keys())
        for was in [ledger.get(name, "")]
    ]


def _state(file: str | None, ledger: str | None) -> State:
    if file is None:
        return "unknown"
    if ledger is None:
        return "pending"
    return "applied" if file == ledger else "changed"


async def ledger(database: Database, place: Place) -> Mapping[str, str]:
    """What was applied: name -> checksum; nothing where there is no ledger."""
    if not await database.pairs(place.rendered(_HAS_LEDGER)):
        return {}
    return await database.pairs(place.rendered("SELECT name, checksum FROM {db}.migrations FINAL"))


async def migrate(
    database: Database, place: Place, known: Sequence[Migration] | None = None
) -> Sequence[str]:
    """Apply what is missing; the names applied.

    A migration that dies half-way is run again from its start: its statements may run again. One
    that may not says when it is done: `-- unless: <query>`, which has a row of two columns then.
    """
    todo = pending(migrations() if known is None else known, await ledger(database, place))
    if todo:  # who may only read learns that there is nothing to do
        await database.command(place.rendered(LEDGER))
    for migration in todo:
        for statement in migration.statements(place):
            if not await _done(database, statement):
                await database.command(statement)
        entry = f"('{migration.name}', '{migration.checksum}')"
        await database.command(
            place.rendered("INSERT INTO {db}.migrations (name, checksum) VALUES ") + entry
        )
    return [migration.name for migration in todo]


async def _done(database: Database, statement: str) -> bool:
    unless = _UNLESS.search(statement)
    return unless is not None and bool(await database.pairs(unless[1]))
