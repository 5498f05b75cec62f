"""What an intruder tries on port 8123 as the reader: it reads the database, and nothing else."""

from __future__ import annotations

import asyncio
import gzip
import socket
from io import BytesIO
from typing import TYPE_CHECKING

import aiohttp
import pytest
import pytest_asyncio

from crewstream.embedded import clickhouse_guard as guard
from crewstream.embedded.clickhouse import MOST_QUERY_BYTES, ClickHouseFace
from crewstream.embedded.clickhouse_wire import User

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

USERS = (User("default"), User("writer", "pw", read_only=False))
WRITER = {"user": "writer", "password": "pw"}
ROWS = 3000


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def face(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ClickHouseFace]:
    """A served database with a table of 3000 rows."""
    folder = tmp_path_factory.mktemp("clickhouse") / "data"
    async with ClickHouseFace(str(folder), port=0, users=USERS) as found:
        create = "CREATE TABLE t (a UInt64, s String) ENGINE = MergeTree ORDER BY a"
        insert = "INSERT INTO t SELECT number, 's' FROM numbers({rows:UInt32})"
        for sql in (create, insert):
            assert (await ask(found, sql, param_rows=str(ROWS), **WRITER))[0] == 200
        yield found


async def ask(face: ClickHouseFace, sql: str | bytes, **query: str) -> tuple[int, str, str]:
    """Status, ClickHouse's error code, body."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(face.url, params=query, data=sql) as answer,
    ):
        code = answer.headers.get("X-ClickHouse-Exception-Code", "")
        return answer.status, code, (await answer.read()).decode("utf-8", "replace")


HOSTILE = [
    "INSERT INTO t (a) VALUES (1)",
    "INSERT INTO t (a) FORMAT CSV\n1\n",
    "INSERT INTO FUNCTION file('{out}', 'CSV') SELECT 1",
    "DROP TABLE t",
    "TRUNCATE TABLE t",
    "ALTER TABLE t DELETE WHERE 1",
    "CREATE TABLE x (a UInt8) ENGINE = Memory",
    "CREATE TEMPORARY TABLE x (a UInt8) ENGINE = Memory",
    "CREATE FUNCTION f AS x -> x",
    "RENAME TABLE t TO x",
    "OPTIMIZE TABLE t",
    "SYSTEM RELOAD CONFIG",
    "KILL QUERY WHERE 1",
    "USE system",
    "SET readonly = 0",
    "GRANT SELECT ON *.* TO x",
    "BACKUP TABLE t TO File('{out}')",
    "ATTACH TABLE z FROM '{out}' (a UInt8) ENGINE = File(CSV)",
    "SELECT 1; DROP TABLE t",
    "SELECT 1 INTO OUTFILE '{out}'",
    "SELECT 1 INTO/**/OUTFILE '{out}'",
    "SELECT * FROM file('{secret}', 'LineAsString')",
    "SELECT file('{secret}')",
    "SELECT FILE('{secret}')",
    "SELECT `file`('{secret}')",
    "SELECT (SELECT file('{secret}'))",
    "SELECT * FROM view(SELECT file('{secret}'))",
    "WITH x AS (SELECT file('{secret}')) SELECT * FROM x",
    "SELECT a FROM t WHERE s = file('{secret}')",
    "SELECT arrayMap(x -> file(x), ['{secret}'])",
    "SELECT * FROM '{secret}'",
    "SELECT * FROM default.`{secret}`",
    "SELECT * FROM merge('default', '.*')",
    "DESCRIBE default.`{secret}`",
    "DESCRIBE file('{secret}')",
    "EXISTS default.`{secret}`",
    "EXPLAIN SELECT * FROM file('{secret}', 'LineAsString')",
    "EXPLAIN ANALYZE SELECT file('{secret}')",
    "SELECT * FROM filesystem('/')",
    "SELECT * FROM sqlite('{secret}', 't')",
    "SELECT * FROM executable('cat', 'TSV', 'a String')",
    "SELECT * FROM url('{url}', 'LineAsString')",
    "SELECT * FROM s3('{url}', 'LineAsString')",
    "SELECT * FROM remote('127.0.0.1', system.one)",
    "SELECT * FROM mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
    "SELECT * FROM Python(secret)",
    "SELECT 1 SETTINGS max_execution_time = 1000",
    "SELECT 1 SETTINGS readonly = 0",
    "SELECT * FROM (SELECT sleepEachRow(1) FROM numbers(9) SETTINGS max_execution_time = 100)",
    "SELECT * FROM (SELECT count() FROM t SETTINGS max_memory_usage = 1e18)",
    "EXPLAIN ANALYZE INSERT INTO t (a) SELECT 1",
    "CREATE DICTIONARY d (a UInt64) PRIMARY KEY a SOURCE(FILE(path '{secret}' FORMAT CSV))",
    "SELECT * FROM dictionary('d')",
    "SELECT a FROM t WHERE s IN (SELECT * FROM url('{url}', 'LineAsString'))",
    "DESCRIBE url('{url}')",
    "EXPLAIN ESTIMATE SELECT * FROM url('{url}', 'LineAsString')",
    "EXPLAIN TABLE OVERRIDE mysql('127.0.0.1:1', 'a', 'b', 'c', 'd') COLUMNS (a UInt8)",
    "SELECT 1 UNION ALL SELECT * FROM url('{url}', 'LineAsString')",
    "WITH file('{secret}') AS x SELECT x",
    "SELECT 1 FORMAT JSON SETTINGS max_execution_time = 1000",
    "SELECT 1 FORMAT Protobuf SETTINGS output_format_schema = '{out}'",
    "SELECT 1 FORMAT Template SETTINGS format_template_row = '{secret}'",
    "SELECT * FROM system.processes",
    'SELECT * FROM "system"."processes"',
    "SELECT * FROM system.one AS o JOIN system . processes AS p ON 1",
    "SELECT (1, 'a') IN system.processes",
    "SELECT * FROM merge('system', 'processes')",
    "SELECT * FROM merge(REGEXP('sys.*'), 'processes')",
    "SHOW PROCESSLIST",
    "DESCRIBE (SELECT * FROM system.users)",
    "WITH RECURSIVE x AS (SELECT 1 AS a UNION ALL SELECT a FROM x) SELECT count() FROM x",
    "CREATE VIEW v AS SELECT 1",
    "EXECUTE AS writer SELECT 1",
    "SELECT 1 PARALLEL WITH SELECT 2",
    "UNDROP TABLE t",
    "DELETE FROM t WHERE 1",
    "UPDATE t SET s = 'x' WHERE 1",
    "CHECK TABLE t",
    "EXCHANGE TABLES t AND t",
    "START TRANSACTION",
]


@pytest.mark.parametrize("sql", HOSTILE)
async def test_a_reader_only_reads_and_only_the_database(
    face: ClickHouseFace, tmp_path: Path, sql: str
) -> None:
    secret, out = tmp_path / "secret.csv", tmp_path / "out"
    secret.write_text("hush\n")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/x"
        hostile = sql.format(secret=secret, out=out, url=url)
        status, code, body = await ask(face, hostile)
        with pytest.raises(TimeoutError):
            listener.accept()
    assert (status >= 400 and code) or body == "", body
    assert "hush" not in body
    assert not out.exists()
    assert await ask(face, "SELECT count() FROM t") == (200, "", f"{ROWS}\n")


async def test_a_reader_cannot_raise_its_limits(face: ClickHouseFace) -> None:
    sql = "SELECT getSetting('max_execution_time'), getSetting('max_memory_usage')"
    limits = {"max_execution_time": "0", "max_memory_usage": "99999999999999"}
    assert (await ask(face, sql, **limits))[2] == "30\t1000000000\n"
    big = "SELECT length(groupArray(number)) FROM numbers(300000000)"
    assert (await ask(face, big))[1] == "241"


PARAMETERS = [
    ("SELECT * FROM {t:Identifier}", {"param_t": "system.processes"}),
    ("SELECT * FROM {d:Identifier}.{t:Identifier}", {"param_d": "system", "param_t": "users"}),
    ("SELECT 1 IN {t:Identifier}", {"param_t": "system.processes"}),
    ("SELECT query FROM processes", {"database": "system"}),
    ("SELECT 1", {"default_format": "CSV INTO OUTFILE 'x'"}),
    ("SELECT 1", {"readonly": "0"}),
    ("SELECT 1", {"readonly": "2"}),
    ("SELECT 1", {"output_format_schema": "x"}),
    ("SELECT 1", {"format_schema": "x"}),
    ("SELECT 1", {"allow_introspection_functions": "1"}),
    ("SELECT 1", {"log_comment": "x"}),
    ("SELECT 1", {"max_execution_time = 99, readonly": "0"}),
    ("SELECT 1", {"final": "0"}),
    ("DROP TABLE t", {"session_id": "x"}),
    ("SELECT 1", {"user": "writer", "password": ""}),
    ("SELECT 1", {"user": "writer'--", "password": "x"}),
]


@pytest.mark.parametrize(("sql", "query"), PARAMETERS)
async def test_what_goes_with_a_query_opens_nothing(
    face: ClickHouseFace, sql: str, query: dict[str, str]
) -> None:
    status, code, body = await ask(face, sql, **query)
    assert (status >= 400, bool(code)) == (True, True), body
    assert await ask(face, "SELECT count() FROM t") == (200, "", f"{ROWS}\n")


async def test_a_parameter_is_a_value_and_never_sql(face: ClickHouseFace) -> None:
    hostile = "x'); DROP TABLE t; SELECT file('/etc/passwd') --"
    assert await ask(face, "SELECT {p:String}", param_p=hostile) == (
        200,
        "",
        hostile.replace("'", "\\'") + "\n",
    )


NAMED = [
    "SELECT * FROM default.`{file}`",
    "SELECT * FROM `{file}`",
    "SELECT 1 IN default.`{file}`",
    "SELECT 1 IN `{file}`",
    "DESCRIBE default.`{file}`",
    "SHOW CREATE TABLE default.`{file}`",
    "SHOW COLUMNS FROM `{file}` FROM default",
    "EXISTS default.`{file}`",
    "EXPLAIN SELECT * FROM default.`{file}`",
    "SELECT hasColumnInTable('default', '{file}', 'x')",
    "SELECT joinGet('default.{file}', 'a', 1)",
]


@pytest.mark.parametrize("sql", NAMED)
async def test_a_reader_does_not_learn_whether_a_file_is_there(
    face: ClickHouseFace, tmp_path: Path, sql: str
) -> None:
    there, missing = tmp_path / "exists.csv", tmp_path / "absent.csv"
    there.write_text("hush\n")
    for database in ("default", "crewstream"):
        told = [await ask(face, sql.format(file=f), database=database) for f in (there, missing)]
        assert told[0][:2] == told[1][:2]
        assert told[0][2].replace("exists", "absent") == told[1][2]


async def test_every_table_function_and_table_of_the_engine_is_judged(
    face: ClickHouseFace,
) -> None:
    functions = (await ask(face, "SELECT name FROM system.table_functions"))[2].split()
    tables = (await ask(face, "SELECT name FROM system.tables WHERE database = 'system'"))[2]
    outside = [f"{each}()" for each in functions if each.lower() not in guard.TABLE_FUNCTIONS]
    hidden = [f"system.{each}" for each in tables.split() if each not in guard.SYSTEM_TABLES]
    assert len(outside) > 30
    assert len(hidden) > 30
    answers = await asyncio.gather(
        *(ask(face, f"DESCRIBE TABLE {each}") for each in [*outside, *hidden])
    )
    assert {answer[:2] for answer in answers} == {(403, "497")}


async def test_a_reader_sends_a_query_and_never_a_flood(face: ClickHouseFace) -> None:
    big = b"SELECT 1 /*" + b"x" * MOST_QUERY_BYTES + b"*/"
    async with (
        aiohttp.ClientSession() as session,
        session.post(face.url, data=BytesIO(big)) as sent,
    ):
        assert sent.status == 413
    async with (
        aiohttp.ClientSession(headers={"Content-Encoding": "gzip"}) as session,
        session.post(face.url, data=gzip.compress(big)) as answer,
    ):
        assert answer.status == 413
