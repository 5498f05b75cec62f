"""ClickHouse's HTTP protocol over the engine in this process, for every client but the recorder."""

from __future__ import annotations

import asyncio
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Self, TypeVar

from aiohttp import web

from crewstream.embedded import clickhouse_guard as guard
from crewstream.embedded import clickhouse_wire as wire
from crewstream.embedded.clickhouse_wire import Asked, User
from crewstream.errors import StartFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType

T = TypeVar("T")

READERS = (User("default"), User("reader"))
"""Who may read without a password. Nobody writes unless the caller of the face names a user."""

MOST_BODY_BYTES = 256 << 20
_THREADS = 8  # queries at a time: the engine shares its cores among them
_NAME = re.compile(r"[A-Za-z_]\w*")
# The engine gives a result in pieces; only in these formats are the pieces one document.
_STREAMED = frozenset({"CSV", "JSONEachRow", "Native", "RowBinary", "TSV", "TabSeparated"})


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer under way: each of `pieces` may block. To be closed, whatever becomes of it."""

    pieces: Iterator[bytes]
    summary: Mapping[str, str] = field(default_factory=dict)
    opened: Sequence[Any] = ()

    def close(self) -> None:
        """Give up what the engine holds for it."""
        for each in self.opened:
            each.close()


class Engine:
    """The engine of a folder: one handle for every request, so that none sees another's settings.

    The handle that it keeps open is what keeps the engine running. Not to be used after a fork.
    """

    def __init__(self, path: str, database: str) -> None:
        self._path = os.path.realpath(path)
        self._database = database
        try:
            self._kept = self._handle()
        except RuntimeError as error:
            raise StartFailed(
                f"ClickHouse does not open {self._path}; does another process use it? {error}"
            ) from error
        self._kept.query(f"CREATE DATABASE IF NOT EXISTS {_identifier(database)}")
        self.timezone = _text(self._kept, "SELECT timezone()")
        names = _text(self._kept, "SELECT lower(name) FROM system.table_functions")
        self._table_functions = frozenset(names.split())

    def close(self) -> None:
        """Give up the engine; it stops when no other handle in this process is open."""
        self._kept.close()

    def answer(self, asked: Asked) -> Answer:
        """Run what was asked. Raises what the engine raises, or Denied."""
        handle = self._handle()
        try:
            sql = self._prepared(handle, asked)
            if asked.is_insert:
                return self._inserted(handle, asked)
            if asked.is_query and asked.fmt in _STREAMED:
                return self._streamed(handle, sql, asked)
            return self._whole(handle, sql, asked)
        except BaseException:
            handle.close()
            raise

    def _handle(self) -> Any:
        import chdb  # noqa: PLC0415 - half a gigabyte: only the process that owns the data loads it

        return chdb.connect(self._path)

    def _prepared(self, handle: Any, asked: Asked) -> str:
        """Set the handle up for the request; the SQL to run."""
        handle.query(f"USE {_identifier(asked.database or self._database)}")
        settings = guard.reader_settings(asked.settings) if asked.read_only else asked.settings
        for name in settings:
            if not _NAME.fullmatch(name):
                raise guard.Denied(115, "UNKNOWN_SETTING", f"Unknown setting '{name}'")
        if settings:
            pairs = [f"{name} = {_literal(value)}" for name, value in settings.items()]
            handle.query(f"SET {', '.join(pairs)}")
        if not asked.read_only:
            return asked.sql
        # Sealed first: the parse of a hostile statement is itself only allowed to read.
        handle.query("SET readonly = 1")
        if asked.is_insert:
            raise guard.Denied(164, "READONLY", "Cannot execute query in readonly mode")
        formatted = _text(handle, f"SELECT formatQuerySingleLine({_literal(asked.sql)})")
        tree = handle.query(f"EXPLAIN AST {formatted}", "TSVRaw", params=dict(asked.parameters))
        guard.check(formatted, tree.bytes().decode(), self._table_functions)
        return formatted

    def _inserted(self, handle: Any, asked: Asked) -> Answer:
        with handle.send_insert(asked.insert_head, asked.fmt) as insert:
            insert.append(asked.data)
            done = insert.finish()
        handle.close()
        written = {"written_rows": str(done.rows_written), "written_bytes": str(done.bytes_written)}
        return Answer(iter(()), written)

    def _whole(self, handle: Any, sql: str, asked: Asked) -> Answer:
        result = handle.query(sql, asked.fmt, params=dict(asked.parameters))
        answer: bytes = result.bytes() or b""
        summary = {
            "read_rows": str(result.rows_read()),
            "read_bytes": str(result.bytes_read()),
            "elapsed_ns": str(int(result.elapsed() * 1e9)),
        }
        handle.close()
        return Answer(iter((answer,)), summary)

    def _streamed(self, handle: Any, sql: str, asked: Asked) -> Answer:
        stream = handle.send_query(sql, asked.fmt, params=dict(asked.parameters))
        pieces = (piece.bytes() for piece in stream)
        # Computed before the status line goes out: most errors show here.
        first = next(pieces, b"")
        return Answer(chain((first,), pieces), opened=(stream, handle))


def _text(handle: Any, sql: str) -> str:
    answer: bytes = handle.query(sql, "TSVRaw").bytes()
    return answer.decode().strip()


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _identifier(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


class ClickHouseFace:
    """Serves a database folder over HTTP on `host`:`port` (0: any free one) while it is entered.

    The folder's engine is shared with whatever else in this process opens the same folder; no
    other process can open it meanwhile. Raises StartFailed when it, or the port, is taken.
    """

    def __init__(
        self,
        path: str,
        *,
        host: str = "127.0.0.1",
        port: int = 8123,
        users: Sequence[User] = READERS,
        database: str = "crewstream",
    ) -> None:
        self._path, self._database, self._users = path, database, users
        self._host, self.port = host, port

    @property
    def url(self) -> str:
        """Where it is served; `port` is the real one once it is."""
        return f"http://{self._host}:{self.port}"

    async def __aenter__(self) -> Self:
        self._threads = ThreadPoolExecutor(_THREADS, "clickhouse")
        try:
            self._engine = await self._blocking(Engine, self._path, self._database)
        except BaseException:
            self._threads.shutdown()
            raise
        app = web.Application(client_max_size=MOST_BODY_BYTES)
        app.router.add_get("/ping", _ping)
        app.router.add_route("*", "/", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            await self._listen()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._runner.cleanup()
        await self._blocking(self._engine.close)
        self._threads.shutdown()

    async def _listen(self) -> None:
        try:
            await web.TCPSite(self._runner, self._host, self.port).start()
        except OSError as error:
            raise StartFailed(
                f"ClickHouse cannot listen on {self.url}: {error.strerror}"
            ) from error
        self.port = self._runner.addresses[0][1]

    async def _blocking(self, function: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        headers = {
            "X-ClickHouse-Server-Display-Name": "crewstream",
            "X-ClickHouse-Timezone": self._engine.timezone,
        }
        try:
            user = wire.user_of(request.query, request.headers, self._users)
            body = wire.decompressed(
                await request.read(), request.headers.get("Content-Encoding", "")
            )
            asked = wire.asked(request.method, request.query, request.headers, body, user)
            if asked is None:
                return web.Response(text="Ok.\n", headers=headers)
            headers["X-ClickHouse-Query-Id"] = asked.query_id
            answer = await self._blocking(self._engine.answer, asked)
        except web.HTTPException:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the engine raises is an answer
            status, code, message = wire.failure(error)
            headers["X-ClickHouse-Exception-Code"] = code
            return web.Response(status=status, text=message + "\n", headers=headers)
        return await self._sent(request, asked, answer, headers)

    async def _sent(
        self, request: web.Request, asked: Asked, answer: Answer, headers: dict[str, str]
    ) -> web.StreamResponse:
        """Send the answer piece by piece, so that its size does not matter."""
        tag = token_hex(8)
        headers |= {"X-ClickHouse-Format": asked.fmt, "Content-Type": asked.content_type}
        headers |= {"X-ClickHouse-Summary": json.dumps(dict(answer.summary))}
        headers |= {"X-ClickHouse-Exception-Tag": tag}
        if asked.compression:
            headers["Content-Encoding"] = asked.compression
        response = web.StreamResponse(headers=headers)
        squeezed = wire.Squeezed(asked.compression)
        try:
            await response.prepare(request)
            try:
                while (piece := await self._blocking(next, answer.pieces, None)) is not None:
                    await response.write(squeezed.piece(piece))
            except RuntimeError as error:
                # The status line is gone: the protocol tells it at the end, which is then cut off.
                await response.write(squeezed.piece(wire.trailer(tag, error)) + squeezed.end())
                if request.transport:
                    request.transport.close()
                return response
            await response.write(squeezed.end())
            await response.write_eof()
        finally:
            await self._blocking(answer.close)
        return response


async def _ping(_: web.Request) -> web.Response:
    return web.Response(text="Ok.\n")
