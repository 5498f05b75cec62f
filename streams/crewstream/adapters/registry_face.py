"""Our lock of schema ids behind Confluent's registry paths, for tools that decode our topics."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from crewstream.contracts.schemas import Released, Schemas
    from crewstream.contracts.topics import Topics

_MEDIA = "application/vnd.schemaregistry.v1+json"
# Confluent's codes: https://docs.confluent.io/platform/current/schema-registry/develop/api.html
_NO_SUBJECT, _NO_VERSION, _NO_SCHEMA, _READ_ONLY, _BAD_SCHEMA = 40401, 40402, 40403, 40301, 42201


def face(schemas: Schemas, topics: Topics) -> web.Application:
    """An application for the lock's subjects, written out for the topics' prefix and projects.

    It holds schemas only and asks nobody who they are: serve it on a trusted network.
    """
    lock = _Lock(schemas, topics)
    app = web.Application()
    app.add_routes(
        [
            web.get("/subjects", lock.subjects),
            web.post("/subjects/{subject}", lock.find),
            web.get("/subjects/{subject}/versions", lock.versions),
            web.post("/subjects/{subject}/versions", lock.register),
            web.get("/subjects/{subject}/versions/{version}", lock.version),
            web.get("/subjects/{subject}/versions/{version}/schema", lock.version_schema),
            web.get("/schemas/ids/{id}", lock.by_id),
            web.get("/schemas/ids/{id}/schema", lock.schema_by_id),
            web.get("/schemas/ids/{id}/versions", lock.users),
            web.get("/schemas/ids/{id}/subjects", lock.users_subjects),
            web.get("/schemas/types", _constant(["AVRO"])),
            web.get("/config", _constant({"compatibilityLevel": "FULL_TRANSITIVE"})),
            web.get("/config/{subject}", lock.compatibility),
            web.get("/mode", _constant({"mode": "READONLY"})),
            web.get("/mode/{subject}", _constant({"mode": "READONLY"})),
            web.get("/", _constant({})),
            web.route("*", "/{path:.*}", _refuse),
        ]
    )
    return app


class _Lock:
    """The handlers: what each path answers from the lock."""

    def __init__(self, schemas: Schemas, topics: Topics) -> None:
        self._by_id = schemas.by_id
        self._subjects: Mapping[str, Sequence[Released]] = {
            f"{topic.name}-value": schemas.subjects[f"{topic.template}-value"]
            for topic in topics.all()
            if topic.record
        }
        modes = topics.modes()
        self._modes = {f"{t.name}-value": modes[t.record] for t in topics.all() if t.record}

    async def subjects(self, _: web.Request) -> web.Response:
        return _answer(sorted(self._subjects))

    async def versions(self, request: web.Request) -> web.Response:
        return _answer([each.version for each in self._of(request)])

    async def version(self, request: web.Request) -> web.Response:
        return _answer(_described(request.match_info["subject"], self._one(request)))

    async def version_schema(self, request: web.Request) -> web.Response:
        return _answer(self._one(request).schema)

    async def by_id(self, request: web.Request) -> web.Response:
        return _answer({"schema": json.dumps(self._known(request).schema)})

    async def schema_by_id(self, request: web.Request) -> web.Response:
        return _answer(self._known(request).schema)

    async def users(self, request: web.Request) -> web.Response:
        each = self._known(request)
        return _answer(
            [
                {"subject": subject, "version": each.version}
                for subject, versions in self._subjects.items()
                if each in versions
            ]
        )

    async def users_subjects(self, request: web.Request) -> web.Response:
        each = self._known(request)
        return _answer([name for name, versions in self._subjects.items() if each in versions])

    async def compatibility(self, request: web.Request) -> web.Response:
        self._of(request)
        return _answer({"compatibilityLevel": self._modes[request.match_info["subject"]]})

    async def find(self, request: web.Request) -> web.Response:
        return _answer(_described(request.match_info["subject"], await self._same(request)))

    async def register(self, request: web.Request) -> web.Response:
        """What is there already is registered again without harm: serialisers do so by default."""
        try:
            return _answer({"id": (await self._same(request)).id})
        except web.HTTPNotFound:
            return await _refuse(request)

    def _of(self, request: web.Request) -> Sequence[Released]:
        subject = request.match_info["subject"]
        if subject not in self._subjects:
            raise _not_found(_NO_SUBJECT, f"Subject '{subject}' not found.")
        return self._subjects[subject]

    def _one(self, request: web.Request) -> Released:
        wanted, versions = request.match_info["version"], self._of(request)
        if wanted in {"latest", "-1"}:
            return versions[-1]
        for each in versions:
            if str(each.version) == wanted:
                return each
        raise _not_found(_NO_VERSION, f"Version {wanted} not found.")

    def _known(self, request: web.Request) -> Released:
        wanted = request.match_info["id"]
        if not wanted.isdecimal() or int(wanted) not in self._by_id:
            raise _not_found(_NO_SCHEMA, f"Schema {wanted} not found")
        return self._by_id[int(wanted)]

    async def _same(self, request: web.Request) -> Released:
        """The version of the subject whose schema the request holds."""
        versions = self._of(request)
        try:
            schema = json.loads((await request.json())["schema"])
        except (ValueError, KeyError, TypeError) as error:
            text = _text(_BAD_SCHEMA, 'the body is not {"schema": "..."}')
            raise web.HTTPUnprocessableEntity(text=text, content_type=_MEDIA) from error
        for each in versions:
            if each.schema == schema:
                return each
        raise _not_found(_NO_SCHEMA, "Schema not found")


def _described(subject: str, each: Released) -> dict[str, Any]:
    return {
        "subject": subject,
        "version": each.version,
        "id": each.id,
        "schema": json.dumps(each.schema),
    }


def _constant(content: object) -> Any:
    async def handle(_: web.Request) -> web.Response:
        return _answer(content)

    return handle


async def _refuse(request: web.Request) -> web.Response:
    if request.method in {"GET", "HEAD"}:
        raise _not_found(404, f"HTTP 404 Not Found: {request.path}")
    reason = "this registry is crewstream's lock of schema ids: it is read only"
    return web.Response(text=_text(_READ_ONLY, reason), status=403, content_type=_MEDIA)


def _answer(content: object) -> web.Response:
    return web.json_response(content, content_type=_MEDIA)


def _not_found(code: int, message: str) -> web.HTTPNotFound:
    return web.HTTPNotFound(text=_text(code, message), content_type=_MEDIA)


def _text(code: int, message: str) -> str:
    return json.dumps({"error_code": code, "message": message})
