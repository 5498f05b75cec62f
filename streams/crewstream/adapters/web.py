"""What a process serves over HTTP: its health, its metrics, the status of workflows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Protocol

from aiohttp import web

from crewstream.errors import StartFailed, Transient

LIMIT, MAX_LIMIT = 50, 1000
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Health:
    """Whether a process does its work, and what keeps it from it."""

    ready: bool
    problems: tuple[str, ...] = ()


class StatusReader(Protocol):
    """The part of the status store that is read."""

    async def get(self, workflow_id: str) -> Mapping[str, object] | None: ...

    async def list(
        self, *, project: str, status: str, tenant: str, limit: int
    ) -> Sequence[Mapping[str, object]]: ...


@asynccontextmanager
async def serve(
    host: str,
    port: int,
    health: Callable[[], Health],
    metrics: Callable[[], tuple[bytes, str]],
    *,
    routes: Sequence[web.RouteDef] = (),
    below: Mapping[str, web.Application] | None = None,
) -> AsyncIterator[str]:
    """Serve /health (200 when ready, else 503), /metrics and `routes`; yields the address as a URL.

    `metrics` gives a body and its content type; `below` has applications by the path that they
    are served under. Port 0 takes any free one. Raises StartFailed when the port is taken.
    """
    app = web.Application()
    app.add_routes([_health(health), _metrics(metrics), *routes])
    for path, application in (below or {}).items():
        app.add_subapp(path, application)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise StartFailed(
                f"cannot serve health and metrics on {host}:{port} ({error.strerror}); "
                "choose another port with CREWSTREAM_HTTP_PORT, or 0 for any free one"
            ) from error
        address = runner.addresses[0]
        yield f"http://{address[0]}:{address[1]}"
    finally:
        await runner.cleanup()


def status_routes(store: StatusReader) -> Sequence[web.RouteDef]:
    """The status API: `/v1/workflows/{id}` and `/v1/workflows?project=&status=&tenant=&limit=`.

    Answers are JSON; 503 says that the store is away.
    """

    async def one(request: web.Request) -> web.Response:
        workflow_id = request.match_info["id"]
        state = await store.get(workflow_id)
        return web.json_response(state) if state else _fault(404, f"no workflow {workflow_id!r}")

    async def many(request: web.Request) -> web.Response:
        limit = request.query.get("limit", str(LIMIT))
        if not (limit.isdecimal() and 1 <= int(limit) <= MAX_LIMIT):
            return _fault(400, f"limit is a number from 1 to {MAX_LIMIT}, not {limit!r}")
        wanted = {name: request.query.get(name, "") for name in ("project", "status", "tenant")}
        found = await store.list(**wanted, limit=int(limit))
        return web.json_response({"workflows": list(found)})

    return [
        web.get("/v1/workflows", _when_there(many)),
        web.get("/v1/workflows/{id:.+}", _when_there(one)),
    ]


def _when_there(answer: Handler) -> Handler:
    async def guarded(request: web.Request) -> web.StreamResponse:
        try:
            return await answer(request)
        except Transient as error:
            return _fault(503, str(error))

    return guarded


def _health(health: Callable[[], Health]) -> web.RouteDef:
    async def answer(_: web.Request) -> web.Response:
        now = health()
        return web.json_response(asdict(now), status=200 if now.ready else 503)

    return web.get("/health", answer)


def _metrics(metrics: Callable[[], tuple[bytes, str]]) -> web.RouteDef:
    async def answer(_: web.Request) -> web.Response:
        body, content_type = metrics()
        return web.Response(body=body, headers={"Content-Type": content_type})

    return web.get("/metrics", answer)


def _fault(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)
