"""Port 8123 as ClickHouse's own clients, curl and an intruder use it."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import aiohttp
import clickhouse_connect
import pytest
import pytest_asyncio
from clickhouse_connect.driver.exceptions import DatabaseError, StreamFailureError

from crewstream.adapters.clickhouse import connect
from crewstream.analytics.migrations import Place, migrate
from crewstream.embedded.clickhouse import ClickHouseFace
from crewstream.embedded.clickhouse_wire import User

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

USERS = (User("default"), User("writer", "pw", read_only=False))
WRITER = {"user": "writer", "password": "pw"}
CREATE = (
    "CREATE TABLE {name} (a UInt64, s LowCardinality(String), m Map(String, String),"
    " n Nullable(Float64), u UUID) ENGINE = MergeTree ORDER BY a"
)
COLUMNS = ["a", "s", "m", "n", "u"]
ROWS = [[n, f"s{n % 3}", {"k": "v"}, None if n % 2 else 1.5, UUID(int=n)] for n in range(3000)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clickhouse") / "data"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def face(folder: Path) -> AsyncIterator[ClickHouseFace]:
    """A served database with a table of 3000 rows, and an empty one like it."""
    async with ClickHouseFace(str(folder), port=0, users=USERS) as found:
        await asyncio.to_thread(_fill, found)
        yield found


def _fill(face: ClickHouseFace) -> None:
    with client(face, "writer", "pw") as writer:
        writer.command(CREATE.format(name="t"))
        writer.command(CREATE.format(name="plain"))
        assert writer.insert("t", ROWS, column_names=COLUMNS).written_rows == len(ROWS)


@contextmanager
def client(
    face: ClickHouseFace, user: str = "default", password: str = "", **options: Any
) -> Iterator[Any]:
    found = clickhouse_connect.get_client(
        host="127.0.0.1", port=face.port, username=user, password=password, **options
    )
    try:
        yield found
    finally:
        found.close()


async def ask(
    face: ClickHouseFace, sql: str, method: str = "POST", **query: str
) -> tuple[int, str, str]:
    """What curl would see: status, ClickHouse's error code, body."""
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, face.url, params=query, data=sql.encode()) as answer,
    ):
        code = answer.headers.get("X-ClickHouse-Exception-Code", "")
        return answer.status, code, (await answer.read()).decode()


@pytest.mark.parametrize("compress", [False, "lz4", "zstd", "gzip"])
async def test_the_official_client_writes_and_reads(
    face: ClickHouseFace, compress: bool | str
) -> None:
    def talk() -> None:
        with client(face, "writer", "pw", compress=compress) as writer:
            writer.command(CREATE.format(name=f"squeezed_{compress}"))
            writer.insert(f"squeezed_{compress}", ROWS, column_names=COLUMNS)
            found = writer.query(
                "SELECT * FROM {t:Identifier} ORDER BY a", parameters={"t": f"squeezed_{compress}"}
            ).result_rows
            assert found == [tuple(row) for row in ROWS]

    await asyncio.to_thread(talk)


async def test_the_official_client_reads_in_its_many_ways(face: ClickHouseFace) -> None:
    def talk() -> None:
        with client(face) as reader:
            assert reader.ping()
            values = {"s": "s1", "most": 100, "text": "a\n'b\\", "some": [1, 4, 5]}
            sql = (
                "SELECT count(), {text:String} FROM t"
                " WHERE s = {s:String} AND a < {most:UInt64} AND a IN {some:Array(UInt64)}"
            )
            assert reader.query(sql, parameters=values).result_rows == [(2, "a\n'b\\")]
            assert reader.query("SELECT * FROM t LIMIT 0").column_names == tuple(COLUMNS)
            assert reader.query_arrow("SELECT a FROM t").num_rows == len(ROWS)
            assert reader.raw_query("SELECT 1 AS x", fmt="JSONEachRow") == b'{"x":1}\n'

    await asyncio.to_thread(talk)


async def test_the_official_async_client_asks_many_at_a_time(face: ClickHouseFace) -> None:
    reader = await clickhouse_connect.get_async_client(host="127.0.0.1", port=face.port)
    try:
        asked = [reader.query("SELECT count() FROM t") for _ in range(20)]
        answers = await asyncio.gather(*asked)
    finally:
        await reader.close()
    assert {answer.result_rows[0][0] for answer in answers} == {len(ROWS)}


async def test_a_large_result_streams_and_says_how_it_broke(face: ClickHouseFace) -> None:
    def rows(sql: str) -> int:
        with client(face) as reader, reader.query_row_block_stream(sql) as blocks:
            return sum(len(block) for block in blocks)

    many = "SELECT number, toString(number) FROM numbers(1000000)"
    assert await asyncio.to_thread(rows, many) == 1_000_000
    with pytest.raises(StreamFailureError, match="Code: 395"):
        await asyncio.to_thread(rows, "SELECT throwIf(number = 900000) FROM numbers(1000000)")


async def test_plain_http_answers_in_the_format_asked_for(face: ClickHouseFace) -> None:
    assert await ask(face, "SELECT 1, 'a'") == (200, "", "1\ta\n")
    assert await ask(face, "", method="GET", query="SELECT 2") == (200, "", "2\n")
    assert await ask(face, "SELECT {x:UInt8} + 1", param_x="3") == (200, "", "4\n")
    _, _, body = await ask(face, "SELECT 1 AS x", default_format="JSONCompact")
    assert json.loads(body)["data"] == [[1]]
    assert await ask(face, "", method="GET") == (200, "", "Ok.\n")


async def test_plain_http_inserts(face: ClickHouseFace) -> None:
    one = 'INSERT INTO plain (a) FORMAT JSONEachRow {"a": 900001}'
    assert (await ask(face, one, **WRITER))[0] == 200
    two = {"query": "INSERT INTO plain (a) FORMAT CSV"}
    assert (await ask(face, "900002\n900003\n", **WRITER, **two))[0] == 200
    three = "INSERT INTO plain (a, s) VALUES (900004, 'x FORMAT CSV y')"
    assert (await ask(face, three, **WRITER))[0] == 200
    assert await ask(face, "SELECT count() FROM plain") == (200, "", "4\n")
    status, code, _ = await ask(face, 'INSERT INTO plain FORMAT JSONEachRow {"a":"x"}', **WRITER)
    assert (status, code) == (500, "27")


@pytest.mark.parametrize(
    ("sql", "status", "code"),
    [
        ("SELECT nope", 404, "47"),
        ("SELECT 1 FROM nope", 404, "60"),
        ("SELEC 1", 400, "62"),
        ("SELECT throwIf(1)", 500, "395"),
    ],
)
async def test_errors_have_clickhouses_codes(
    face: ClickHouseFace, sql: str, status: int, code: str
) -> None:
    found = await ask(face, sql, **WRITER)
    assert found[:2] == (status, code)
    assert found[2].startswith(f"Code: {code}. DB::Exception: ")


async def test_a_stranger_is_turned_away(face: ClickHouseFace) -> None:
    assert (await ask(face, "SELECT 1", user="writer"))[:2] == (403, "516")
    assert (await ask(face, "SELECT 1", user="nobody"))[:2] == (403, "516")


async def test_one_requests_settings_are_not_anothers(face: ClickHouseFace) -> None:
    sql = "SELECT getSetting('max_block_size')"
    assert (await ask(face, sql, max_block_size="7", **WRITER))[2] == "7\n"
    assert (await ask(face, sql, **WRITER))[2] != "7\n"


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
    assert await ask(face, "SELECT count() FROM t") == (200, "", f"{len(ROWS)}\n")


async def test_a_reader_cannot_raise_its_limits(face: ClickHouseFace) -> None:
    sql = "SELECT getSetting('max_execution_time'), getSetting('max_memory_usage')"
    limits = {"max_execution_time": "0", "max_memory_usage": "99999999999999"}
    assert (await ask(face, sql, **limits))[2] == "30\t1000000000\n"
    assert (await ask(face, "SELECT 1", readonly="0"))[:2] == (403, "164")
    big = "SELECT length(groupArray(number)) FROM numbers(300000000)"
    assert (await ask(face, big))[1] == "241"


async def test_a_get_does_not_write_whoever_asks(face: ClickHouseFace) -> None:
    assert (await ask(face, "", method="GET", query="DROP TABLE t", **WRITER))[:2] == (403, "164")


async def test_the_recorder_writes_beside_it_in_the_same_process(
    face: ClickHouseFace, folder: Path
) -> None:
    async with connect(f"chdb://{folder}") as inside:
        await migrate(inside, Place(inside.database))
        row = (UUID(int=1), datetime.now(UTC), "t")
        await inside.insert_rows("events", ["event_id", "occurred_at", "tenant_id"], [row])
    async with connect(face.url) as outside:
        found = await outside.query("SELECT tenant_id FROM v_events")
        assert found.rows == [("t",)]
        assert [block.rows async for block in outside.blocks("SELECT 1")] == [[(1,)]]
        with pytest.raises(Exception, match="READONLY"):
            await outside.command("DROP TABLE events")


async def test_the_official_client_shows_what_is_refused(face: ClickHouseFace) -> None:
    def talk() -> None:
        with client(face) as reader, pytest.raises(DatabaseError) as caught:
            reader.command("DROP TABLE t")
        assert caught.value.code == 164

    await asyncio.to_thread(talk)
