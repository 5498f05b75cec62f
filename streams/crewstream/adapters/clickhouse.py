"""One DSN, two backends: a ClickHouse server over HTTP, or the engine in this process.

Sole importer of clickhouse_connect.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit

from crewstream.errors import Invalid, Misconfigured, Transient, Unreachable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

T = TypeVar("T")
Row = tuple[Any, ...]

DATABASE = "crewstream"
READING = {"final": "1", "do_not_merge_across_partitions_select_final": "1"}
"""So that a plain SELECT shows no row twice, at a fifth of what FINAL alone costs."""

# What is wrong with the data and stays wrong: these are the record's fault, all else is ours.
DATA_ERRORS = frozenset({6, 26, 27, 33, 38, 41, 53, 69, 70, 72, 117, 321, 349, 376, 377, 1001})
# Too busy, too many parts, out of memory, read-only, timeouts, network: these pass.
PASSING_ERRORS = frozenset({159, 202, 203, 209, 210, 241, 242, 243, 252, 319, 425, 439, 999})
_NOT_OPENED = "Unable to open the chdb engine"


class Refused(Invalid):
    """ClickHouse refused a statement or data; `code` is ClickHouse's error code."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Result:
    """Rows, and the names of their columns."""

    columns: Sequence[str]
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Dsn:
    """A connection setting, taken apart: `path` of an embedded engine, or `options` of a server."""

    database: str
    path: str | None
    options: Mapping[str, Any]

    @classmethod
    def parse(cls, dsn: str) -> Dsn:
        """`chdb:///absolute/path` or `http(s)://user:password@host:port/database`.

        Raises Misconfigured for anything else.
        """
        parts = urlsplit(dsn)
        if parts.scheme == "chdb" and not parts.netloc and parts.path.startswith("/"):
            return cls(DATABASE, unquote(parts.path), {})
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise Misconfigured(
                f"not a ClickHouse address: {parts.scheme or dsn!r}; "
                "use chdb:///absolute/path or http(s)://user:password@host:port/database"
            )
        secure = parts.scheme == "https"
        options = {
            "host": parts.hostname,
            "port": parts.port or (8443 if secure else 8123),
            "username": unquote(parts.username or "default"),
            "password": unquote(parts.password or ""),
            "secure": secure,
        }
        return cls(parts.path.strip("/") or DATABASE, None, options)

    @property
    def place(self) -> str:
        """Where it is, for people: never with a password."""
        return self.path or f"{self.options['host']}:{self.options['port']}"


class Analytics:
    """A ClickHouse database. Calls run in threads; made by `connect`."""

    def __init__(self, client: Any, dsn: Dsn, *, deduplicate: bool = True) -> None:
        self._client = client
        self._dsn = dsn
        self._deduplicate = deduplicate
        self.database = dsn.database

    async def columns(self, table: str) -> frozenset[str]:
        """The names of a table's columns."""
        sql = "SELECT name FROM system.columns WHERE database = {d:String} AND table = {t:String}"
        found = await self.query(sql, {"d": self.database, "t": table})
        if not found.rows:
            raise Unreachable(
                f"{self._dsn.place}: there is no table {self.database}.{table}; run the migrations"
            )
        return frozenset(name for (name,) in found.rows)

    async def insert_avro(
        self, table: str, columns: Sequence[str], block: bytes, token: str = ""
    ) -> None:
        """Store an Avro container, all of it or nothing.

        Raises Refused when the data are at fault, Unreachable for whatever else it is.
        """
        await self._insert(
            self._client.raw_insert,
            table,
            column_names=columns,
            insert_block=block,
            fmt="Avro",
            settings=_writing(token, deduplicate=self._deduplicate),
        )

    async def insert_rows(
        self, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]], token: str = ""
    ) -> None:
        """Store rows of plain values; raises as `insert_avro`."""
        await self._insert(
            self._client.insert,
            table,
            data=rows,
            column_names=columns,
            settings=_writing(token, deduplicate=self._deduplicate),
        )

    async def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Result:
        """Rows of a query; `{name:Type}` in it is taken from `parameters`.

        Raises Refused when ClickHouse does not like it, Unreachable when it does not answer.
        """
        found = await self._call(
            self._client.query, sql, parameters=dict(parameters or {}), settings=READING
        )
        return Result(found.column_names, found.result_rows)

    async def pairs(self, sql: str) -> Mapping[str, str]:
        """A query of two columns, as first column -> second."""
        return dict((await self.query(sql)).rows)

    async def blocks(
        self, sql: str, parameters: Mapping[str, Any] | None = None
    ) -> AsyncIterator[Result]:
        """The rows of a query, block by block as they come, for results of any size.

        Raises as `query`. Until it is exhausted or closed, the embedded engine takes no other call.
        """
        stream = await self._call(
            self._client.query_row_block_stream,
            sql,
            parameters=dict(parameters or {}),
            settings=READING,
        )
        with stream as blocks:
            names, following = stream.source.column_names, iter(blocks)
            while (rows := await self._call(next, following, None)) is not None:
                yield Result(names, rows)

    async def raw(
        self, sql: str, fmt: str = "TabSeparated", parameters: Mapping[str, Any] | None = None
    ) -> bytes:
        """The answer in one of ClickHouse's formats, such as JSON, CSVWithNames or Parquet."""
        answer: bytes = await self._call(
            self._client.raw_query,
            sql,
            parameters=dict(parameters or {}),
            fmt=fmt,
            settings=READING,
        )
        return answer

    async def command(self, sql: str) -> None:
        """Run a statement that has no rows to show."""
        await self._call(self._client.command, sql)

    async def _insert(self, insert: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        try:
            await self._call(insert, *args, **kwargs)
        except Refused as refused:
            if refused.code in DATA_ERRORS:
                raise
            # A missing table or right is no record's fault: it is waited out until it is mended.
            raise Unreachable(str(refused)) from refused

    async def _call(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        with _our_errors(self._dsn):
            return await asyncio.to_thread(function, *args, **kwargs)


@asynccontextmanager
async def connect(dsn: str, *, deduplicate: bool = True) -> AsyncIterator[Analytics]:
    """A connection for the duration of the block; its database is made if it is not there.

    Without `deduplicate` an insert is stored whatever was stored before: ClickHouse remembers the
    tokens of rows that are deleted since. Tables that replace rows by key show them once anyway.
    Raises Misconfigured for a DSN that is none, Unreachable when nothing answers.
    """
    parsed = Dsn.parse(dsn)
    with _our_errors(parsed):
        client = await asyncio.to_thread(_client, parsed)
    try:
        yield Analytics(client, parsed, deduplicate=deduplicate)
    finally:
        await asyncio.to_thread(client.close)


def _client(dsn: Dsn) -> Any:
    import clickhouse_connect  # noqa: PLC0415 - it, and the engine more so, are slow to import

    if dsn.path is not None:
        client = clickhouse_connect.get_client(interface="chdb", path=dsn.path, tz_mode="aware")
    else:
        client = clickhouse_connect.get_client(
            **dsn.options, autogenerate_session_id=False, tz_mode="aware"
        )
    there = "SELECT count() FROM system.databases WHERE name = {d:String}"
    if not client.query(there, parameters={"d": dsn.database}).result_rows[0][0]:
        client.command(f"CREATE DATABASE IF NOT EXISTS `{dsn.database}`")
    client.database = dsn.database
    return client


def _writing(token: str, *, deduplicate: bool) -> Mapping[str, str]:
    settings = {
        # By default an insert may touch 100 partitions; a back-fill of years touches more.
        "max_partitions_per_insert_block": "0",
        # FINAL and merges drop what a block has twice; to look for it at once costs a fifth.
        "optimize_on_insert": "0",
        # Or a crash between a table and its view would leave the view without the block for good.
        "deduplicate_blocks_in_dependent_materialized_views": "1",
    }
    if not deduplicate:
        return settings | {"insert_deduplicate": "0"}
    return settings | {"insert_deduplication_token": token} if token else settings


@contextmanager
def _our_errors(dsn: Dsn) -> Iterator[None]:
    """What the client raises -> our tree."""
    from clickhouse_connect.driver import exceptions  # noqa: PLC0415 - as in _client

    try:
        yield
    except exceptions.ClickHouseError as error:
        raise _ours(error, dsn, away=isinstance(error, exceptions.OperationalError)) from error


def _ours(error: Exception, dsn: Dsn, *, away: bool) -> Invalid | Transient:
    code: int | None = getattr(error, "code", None)
    said = str(error).strip()
    if said.startswith(_NOT_OPENED):
        return Unreachable(
            f"{dsn.place} does not open; if another process owns this database, ask that one over "
            f"HTTP, at http://127.0.0.1:8123 unless told otherwise. {said}"
        )
    if away or code in PASSING_ERRORS:
        return Unreachable(f"ClickHouse at {dsn.place}: {said}")
    return Refused(said, code)
