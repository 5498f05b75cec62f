"""Port 8123 as ClickHouse's own clients, curl and an intruder use it."""

from __future__ import annotations

import asyncio
import json
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import aiohttp
import clickhouse_connect
import cramjam
import pytest
import pytest_asyncio
from clickhouse_connect.driver.exceptions import DatabaseError, StreamFailureError

from crewstream.adapters.clickhouse import connect
from crewstream.analytics.migrations import Place, migrate
from crewstream.embedded.clickhouse import ClickHouseFace
from crewstream.embedded.clickhouse_blocks import Blocks, decompressed
from crewstream.embedded.clickhouse_wire import User

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from multidict import CIMultiDictProxy

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

USERS = (User("default"), User("writer", "pw", read_only=False))
WRITER = {"user": "writer", "password": "pw"}
CREATE = (
    "CREATE TABLE {name} (a UInt64, s LowCardinality(String), m Map(String, String),"
    " n Nullable(Float64), u UUID) ENGINE = MergeTree ORDER BY a"
)
COLUMNS = ["a", "s", "m", "n", "u"]
# What the plugin asks to fill its menus; from CHDatasource.ts and settings.go.
GRAFANA = [
    "SELECT version()",
    "SHOW DATABASES",
    'SHOW TABLES FROM "crewstream"',
    'DESC TABLE "crewstream"."t"',
    "SELECT name, type, table FROM system.columns",
    "SELECT name, type, table FROM system.columns WHERE database IN ('crewstream')",
    "SELECT name, is_aggregate, alias_to, syntax, examples FROM system.functions LIMIT 10000",
    "SELECT DISTINCT arrayJoin(mapKeys(`m`)) as keys FROM (SELECT `m` FROM t LIMIT 10) LIMIT 1000",
    "SELECT DISTINCT `s` FROM `crewstream`.`t` WHERE `s` IS NOT NULL LIMIT 1000",
    "select distinct s from crewstream.t limit 1000",
    "SELECT name FROM system.tables WHERE database IN ('crewstream')",
]
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
        return answer.status, code, (await answer.read()).decode("utf-8", "replace")


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
    assert (status, code) == (400, "27")


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


async def test_a_get_or_head_does_not_write_whoever_asks(face: ClickHouseFace) -> None:
    for method in ("GET", "HEAD"):
        drop = {"query": "DROP TABLE t", **WRITER}
        assert (await ask(face, "", method=method, **drop))[:2] == (500, "164")
    assert (await ask(face, "", method="PUT", query="SELECT 1"))[0] == 405
    assert await ask(face, "", method="HEAD", query="SELECT 1") == (200, "", "")


async def test_who_waits_for_the_end_learns_of_an_error_by_the_status(
    face: ClickHouseFace,
) -> None:
    late = "SELECT throwIf(number = 900000) FROM numbers(1000000)"
    assert (await ask(face, late, wait_end_of_query="1"))[:2] == (500, "395")
    headers = await headers_of(face, "SELECT sum(number) FROM numbers(1000)", query_id="mine")
    assert headers["X-ClickHouse-Query-Id"] == "mine"
    assert headers["X-ClickHouse-Format"] == "TabSeparated"
    waited = await headers_of(face, "SELECT a FROM t WHERE a < 7", wait_end_of_query="1")
    summary = json.loads(waited["X-ClickHouse-Summary"])
    assert (summary["read_rows"], summary["result_rows"]) == (str(len(ROWS)), "7")


async def headers_of(face: ClickHouseFace, sql: str, **query: str) -> CIMultiDictProxy[str]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(face.url, params=query, data=sql) as answer,
    ):
        return answer.headers


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "lz4", "br"])
async def test_answers_are_compressed_as_the_client_can_read_them(
    face: ClickHouseFace, encoding: str
) -> None:
    accepts = {"Accept-Encoding": encoding}
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.post(
            f"{face.url}/?enable_http_compression=1", data="SELECT 42", headers=accepts
        ) as answer,
    ):
        assert answer.headers["Content-Encoding"] == encoding
        codec = {"br": "brotli"}.get(encoding, encoding)
        assert bytes(getattr(cramjam, codec).decompress(await answer.read())) == b"42\n"


async def test_clickhouses_own_blocks_are_spoken_both_ways(face: ClickHouseFace) -> None:
    """As JDBC and clickhouse-go do: answers, errors and rows."""

    async def ask_in_blocks(sql: bytes, **query: str) -> bytes:
        sent = {"compress": "1", "decompress": "1", **query}
        packed = cramped(sql)
        async with (
            aiohttp.ClientSession() as session,
            session.post(face.url, params=sent, data=packed) as answer,
        ):
            assert "Content-Encoding" not in answer.headers
            return decompressed(await answer.read(), 1 << 20)

    assert await ask_in_blocks(b"SELECT 42") == b"42\n"
    assert (await ask_in_blocks(b"SELECT nope")).startswith(b"Code: 47. ")
    create = "CREATE TABLE blocks (a UInt8) ENGINE = Memory"
    assert (await ask(face, create, **WRITER))[0] == 200
    await ask_in_blocks(b"1\n2\n", query="INSERT INTO blocks FORMAT CSV", **WRITER)
    assert await ask(face, "SELECT sum(a) FROM blocks") == (200, "", "3\n")


def cramped(data: bytes) -> bytes:
    blocks = Blocks()
    blocks.compress(data)
    return blocks.finish()


async def test_jdbc_learns_the_version_as_it_asks_for_it(face: ClickHouseFace) -> None:
    """Its driver reads no row unless the summary counts one, and sends settings of inserts."""
    sent = {"compress": "1", "wait_end_of_query": "1", "async_insert": "0"}
    wanted = {"X-ClickHouse-Format": "RowBinaryWithNamesAndTypes"}
    async with (
        aiohttp.ClientSession(headers=wanted) as session,
        session.post(face.url, params=sent, data="SELECT version() AS v") as answer,
    ):
        assert json.loads(answer.headers["X-ClickHouse-Summary"])["result_rows"] == "1"
        assert decompressed(await answer.read(), 1 << 20).startswith(b"\x01\x01v\x06String")


async def test_parameters_may_come_in_a_form(face: ClickHouseFace) -> None:
    form = aiohttp.FormData(default_to_multipart=True)
    form.add_field("query", "SELECT {x:String}")
    form.add_field("param_x", "from a form")
    async with aiohttp.ClientSession() as session, session.post(face.url, data=form) as answer:
        assert await answer.text() == "from a form\n"


@pytest.mark.parametrize(
    ("query", "status"),
    [({"default_format": "A B"}, 404), ({"decompress": "1"}, 500)],
)
async def test_what_cannot_be_understood_is_refused_not_ignored(
    face: ClickHouseFace, query: dict[str, str], status: int
) -> None:
    assert (await ask(face, "SELECT 1", **query))[0] == status


async def test_a_document_too_large_to_hold_is_refused(face: ClickHouseFace) -> None:
    sql = "SELECT leftPad(toString(number), 1000) FROM numbers(200000)"
    assert (await ask(face, sql, default_format="JSON"))[:2] == (500, "396")
    assert len((await ask(face, sql))[2]) == 1001 * 200_000


async def test_probes_are_answered_without_a_query(face: ClickHouseFace) -> None:
    async with aiohttp.ClientSession() as session:
        for path in ("/ping", "/replicas_status", "/"):
            async with session.get(face.url + path) as answer:
                assert await answer.text() == "Ok.\n"


@pytest.mark.parametrize("sql", GRAFANA)
async def test_what_grafanas_plugin_asks_is_answered(face: ClickHouseFace, sql: str) -> None:
    """By the settings that it sends with each query, over HTTP: see its pkg/plugin/driver.go."""
    sent = {"database": "crewstream", "default_format": "Native", "limit": "1000000"}
    sent |= {"max_execution_time": "60", "client_protocol_version": "54460", "user": "default"}
    status, _, body = await ask(face, sql, **sent)
    assert status == 200, body


async def test_grafanas_plugin_is_greeted_as_of_its_own_revision(face: ClickHouseFace) -> None:
    hello = "SELECT displayName(), version(), revision(), timezone()"
    sent = {"default_format": "Native", "client_protocol_version": "54460"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(face.url, params=sent, data=hello) as answer,
    ):
        body = await answer.read()
    assert body.startswith(
        b"\x01\x00\x02\xff\xff\xff\xff\x00\x04\x01\x0ddisplayName()\x06String\x00"
    )
    assert b"\x0arevision()\x06UInt32\x00\x00\x00\x00\x00" in body


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
