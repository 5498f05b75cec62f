"""ClickHouse's HTTP protocol over the engine in this process, for every client but the recorder."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from secrets import token_hex
from typing import TYPE_CHECKING, Self, TypeVar

from aiohttp import web

from crewstream.embedded import clickhouse_wire as wire
from crewstream.embedded.clickhouse_engine import DISPLAY_NAME, Answer, Engine
from crewstream.embedded.clickhouse_wire import Asked, User
from crewstream.errors import StartFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

T = TypeVar("T")

READERS = (User("default"), User("reader"))
"""Who may read without a password. Nobody writes unless the caller of the face names a user."""

MOST_BODY_BYTES = 256 << 20
MOST_QUERY_BYTES = 1 << 20
"""What a reader may send: a query, never rows."""

_THREADS = 8  # queries at a time: the engine shares its cores among them


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
        app.router.add_get("/ping", _ok)
        app.router.add_get("/replicas_status", _ok)
        app.router.add_get("/", self._handle)  # and HEAD
        app.router.add_post("/", self._handle)
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
            "X-ClickHouse-Server-Display-Name": DISPLAY_NAME,
            "X-ClickHouse-Timezone": self._engine.timezone,
        }
        try:
            asked = await self._asked(request)
            if asked is None:
                return web.Response(text="Ok.\n", headers=headers)
            headers["X-ClickHouse-Query-Id"] = asked.query_id
            answer = await self._blocking(self._engine.answer, asked)
        except web.HTTPException:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the engine raises is an answer
            status, code, message = wire.failure(error)
            headers["X-ClickHouse-Exception-Code"] = code
            squeezed = wire.Squeezed(wire.compression(request.query, {}))
            text = squeezed.piece(f"{message}\n".encode()) + squeezed.end()
            return web.Response(
                status=status, body=text, content_type="text/plain", headers=headers
            )
        return await self._sent(request, asked, answer, headers)

    async def _asked(self, request: web.Request) -> Asked | None:
        """What is asked, by whom: a stranger's request is not read further than its headers."""
        query, headers = dict(request.query), request.headers
        user = wire.user_of(query, headers, self._users)
        sent, most = request.content_length or 0, _most_bytes(user)
        if sent <= most and request.content_type == "multipart/form-data":
            query |= wire.form(await request.clone(client_max_size=most).post())
            return wire.asked(request.method, query, headers, b"", user)
        body = await _body(request, most)
        body = wire.decompressed(body, query, headers, most)
        return wire.asked(request.method, query, headers, body, user)

    async def _sent(
        self, request: web.Request, asked: Asked, answer: Answer, headers: dict[str, str]
    ) -> web.StreamResponse:
        """Send the answer piece by piece, so that its size does not matter."""
        tag = token_hex(8)
        headers |= {"X-ClickHouse-Format": asked.fmt, "Content-Type": asked.content_type}
        headers |= {"X-ClickHouse-Summary": wire.summary(answer.summary)}
        headers |= {"X-ClickHouse-Exception-Tag": tag}
        if asked.content_encoding:
            headers["Content-Encoding"] = asked.content_encoding
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


async def _ok(_: web.Request) -> web.Response:
    return web.Response(text="Ok.\n")


def _most_bytes(user: User) -> int:
    return MOST_QUERY_BYTES if user.read_only else MOST_BODY_BYTES


async def _body(request: web.Request, most: int) -> bytes:
    """The body, its encoding undone as far as aiohttp knows it. Raises the answer 413."""
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > most:
            raise web.HTTPRequestEntityTooLarge(max_size=most, actual_size=len(body))
    return bytes(body)
