"""The registry's client, and the face of our lock, which stands in for a registry here."""

from __future__ import annotations

import asyncio
import json
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from crewstream.adapters.registry import Registry
from crewstream.adapters.registry_face import face
from crewstream.contracts.codec import Codec
from crewstream.contracts.schemas import FIRST_ID
from crewstream.errors import Misconfigured, SchemaConflict, Undecodable, Unreachable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from crewstream.contracts.avsc import Schema
    from crewstream.contracts.schemas import Schemas
    from crewstream.contracts.topics import Topics

RECORD = "WorkflowRequested"
SUBJECT = "crewstream.bizoholic.workflow.requests-value"


@pytest.fixture
async def lock(schemas: Schemas, topics: Topics) -> AsyncIterator[TestServer]:
    server = TestServer(face(schemas, topics))
    async with server:
        yield server


@pytest.fixture
async def http(lock: TestServer) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(lock.make_url("/")) as session:
        yield session


async def told(response: aiohttp.ClientResponse) -> Any:
    assert response.content_type == "application/vnd.schemaregistry.v1+json"
    return json.loads(await response.text())


async def test_the_face_lists_every_subject_of_every_project(
    http: aiohttp.ClientSession, topics: Topics
) -> None:
    subjects = await told(await http.get("subjects"))
    assert subjects == sorted(f"{topic.name}-value" for topic in topics.all() if topic.record)


@pytest.mark.parametrize("latest", ["latest", "-1"])
async def test_the_face_shows_versions(
    http: aiohttp.ClientSession, schemas: Schemas, latest: str
) -> None:
    released = schemas.history[RECORD]
    found = await told(await http.get(f"subjects/{SUBJECT}/versions/{latest}"))
    assert json.loads(found.pop("schema")) == schemas.current[RECORD]
    expected = {"subject": SUBJECT, "version": len(released), "id": schemas.id_of(RECORD)}
    assert found == expected
    first = await told(await http.get(f"subjects/{SUBJECT}/versions/1"))
    assert (json.loads(first["schema"]), first["id"]) == (released[0], FIRST_ID)
    numbers = [n for n, _ in enumerate(released, 1)]
    assert await told(await http.get(f"subjects/{SUBJECT}/versions")) == numbers


async def test_the_face_shows_schemas_by_id(http: aiohttp.ClientSession, schemas: Schemas) -> None:
    (schema, *_), by_id = schemas.history[RECORD], f"schemas/ids/{FIRST_ID}"
    assert json.loads((await told(await http.get(by_id)))["schema"]) == schema
    assert await told(await http.get(f"{by_id}/schema")) == schema
    assert await told(await http.get(f"subjects/{SUBJECT}/versions/1/schema")) == schema
    assert await told(await http.get(f"{by_id}/subjects")) == [
        SUBJECT,
        "crewstream.coreldove.workflow.requests-value",
    ]
    users = await told(await http.get(f"{by_id}/versions"))
    assert users[0] == {"subject": SUBJECT, "version": 1}
    assert await told(await http.get("schemas/types")) == ["AVRO"]


async def test_the_face_says_how_compatible_schemas_must_be(http: aiohttp.ClientSession) -> None:
    level = await told(await http.get(f"config/{SUBJECT}"))
    assert level == {"compatibilityLevel": "BACKWARD_TRANSITIVE"}
    assert await told(await http.get("config")) == {"compatibilityLevel": "FULL_TRANSITIVE"}
    assert await told(await http.get("mode")) == {"mode": "READONLY"}


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("subjects/nothing/versions", 40401),
        (f"subjects/{SUBJECT}/versions/9", 40402),
        ("schemas/ids/9", 40403),
        ("schemas/ids/x", 40403),
        ("contexts", 404),
    ],
)
async def test_what_is_not_there_has_confluents_code(
    http: aiohttp.ClientSession, path: str, code: int
) -> None:
    response = await http.get(path)
    assert response.status == 404
    assert (await told(response))["error_code"] == code


async def test_a_serialiser_that_registers_what_is_there_is_answered(
    http: aiohttp.ClientSession, schemas: Schemas
) -> None:
    for version, schema in enumerate(schemas.history[RECORD], 1):
        body = {"schema": json.dumps(schema, sort_keys=True)}
        again = await http.post(f"subjects/{SUBJECT}/versions", json=body)
        there = await told(await http.post(f"subjects/{SUBJECT}", json=body))
        assert (again.status, await told(again)) == (200, {"id": there["id"]})
        assert schemas.by_id[there["id"]].schema == schema
        assert there["version"] == version


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", f"subjects/{SUBJECT}/versions"),
        ("DELETE", f"subjects/{SUBJECT}"),
        ("PUT", "config"),
        ("PUT", f"mode/{SUBJECT}"),
    ],
)
async def test_a_write_is_refused(http: aiohttp.ClientSession, method: str, path: str) -> None:
    response = await http.request(method, path, json={"schema": '"string"'})
    assert response.status == 403
    assert await told(response) == {
        "error_code": 40301,
        "message": "this registry is crewstream's lock of schema ids: it is read only",
    }


async def test_a_body_that_holds_no_schema_is_told(http: aiohttp.ClientSession) -> None:
    response = await http.post(f"subjects/{SUBJECT}", data=b"?")
    assert (response.status, (await told(response))["error_code"]) == (422, 42201)


async def test_the_client_finds_nothing_missing_in_the_lock_itself(
    lock: TestServer, schemas: Schemas, topics: Topics
) -> None:
    async with Registry(str(lock.make_url("/"))) as registry:
        assert await registry.missing(schemas, topics) == []
        assert await registry.register(schemas, topics) == []


async def test_the_client_shares_one_answer_and_keeps_it(
    lock: TestServer, schemas: Schemas
) -> None:
    async with Registry(str(lock.make_url("/"))) as registry:
        with pytest.raises(Unreachable, match="is being looked up at http://127"):
            registry.schema(FIRST_ID)
        both = await asyncio.gather(registry.fetch(FIRST_ID), registry.fetch(FIRST_ID))
        assert both[0] is both[1] is registry.schema(FIRST_ID)
        assert registry.schema(FIRST_ID) == schemas.by_id[FIRST_ID].schema
        await lock.close()
        assert await registry.fetch(FIRST_ID) is both[0]


class Elsewhere:
    """A registry that is not ours: it gives ids from 1, has modes, and counts its calls."""

    def __init__(self) -> None:
        self.schemas: dict[int, Schema] = {}
        self.subjects: dict[str, dict[int, int]] = {}
        self.modes: list[tuple[str, str]] = []
        self.asked: list[str] = []
        self.status = 200
        self.app = web.Application(middlewares=[self._count])
        self.app.router.add_get("/schemas/ids/{id}", self._by_id)
        self.app.router.add_post("/subjects/{subject}", self._find)
        self.app.router.add_post("/subjects/{subject}/versions", self._register)
        self.app.router.add_put("/mode/{subject}", self._mode)

    @web.middleware
    async def _count(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.asked.append(request.path)
        if self.status != 200:
            return web.json_response({"error_code": self.status}, status=self.status)
        response: web.StreamResponse = await handler(request)
        return response

    async def _by_id(self, request: web.Request) -> web.Response:
        schema = self.schemas.get(int(request.match_info["id"]))
        if schema is None:
            return web.json_response({"error_code": 40403}, status=404)
        return web.json_response({"schema": json.dumps(schema)})

    async def _find(self, request: web.Request) -> web.Response:
        schema = json.loads((await request.json())["schema"])
        versions = self.subjects.get(request.match_info["subject"], {})
        for version, schema_id in versions.items():
            if self.schemas[schema_id] == schema:
                return web.json_response({"id": schema_id, "version": version})
        return web.json_response({"error_code": 40403}, status=404)

    async def _register(self, request: web.Request) -> web.Response:
        body = await request.json()
        schema_id = body.get("id", len(self.schemas) + 1)
        versions = self.subjects.setdefault(request.match_info["subject"], {})
        versions[body.get("version", len(versions) + 1)] = schema_id
        self.schemas[schema_id] = json.loads(body["schema"])
        return web.json_response({"id": schema_id})

    async def _mode(self, request: web.Request) -> web.Response:
        self.modes.append((request.match_info["subject"], (await request.json())["mode"]))
        return web.json_response({})


@pytest.fixture
def elsewhere() -> Elsewhere:
    return Elsewhere()


@pytest.fixture
async def registry(elsewhere: Elsewhere) -> AsyncIterator[Registry]:
    async with (
        TestServer(elsewhere.app) as server,
        Registry(str(server.make_url("/"))) as registry,
    ):
        yield registry


async def test_a_registry_that_gives_other_ids_conflicts(
    registry: Registry, schemas: Schemas, topics: Topics
) -> None:
    with pytest.raises(
        SchemaConflict, match=r"WorkflowRequested version 1 is id 1001 in the lock,"
    ):
        await registry.register(schemas, topics)


async def test_a_registry_takes_our_ids_in_import_mode(
    registry: Registry, elsewhere: Elsewhere, schemas: Schemas, topics: Topics
) -> None:
    missing = await registry.missing(schemas, topics)
    assert f"{SUBJECT} version 1" in missing

    done = await registry.register(schemas, topics, import_ids=True)

    assert f"{SUBJECT} version 1 as id 1001" in done
    assert len(done) == len(missing)
    assert elsewhere.schemas.keys() == schemas.by_id.keys()
    assert elsewhere.modes[:2] == [(SUBJECT, "IMPORT"), (SUBJECT, "READWRITE")]
    assert await registry.missing(schemas, topics) == []


async def test_an_id_that_is_somebody_elses_conflicts(
    registry: Registry, elsewhere: Elsewhere, schemas: Schemas, topics: Topics
) -> None:
    elsewhere.schemas[1001] = {"type": "record", "name": "Invoice", "fields": []}
    with pytest.raises(
        SchemaConflict, match=r"has Invoice as id 1001, the lock has WorkflowRequested"
    ):
        await registry.register(schemas, topics, import_ids=True)
    assert elsewhere.modes == []


async def test_a_registry_that_finds_a_schema_incompatible_conflicts(
    registry: Registry, elsewhere: Elsewhere, schemas: Schemas, topics: Topics
) -> None:
    elsewhere.status = 409
    with pytest.raises(SchemaConflict, match="says 409 to POST"):
        await registry.missing(schemas, topics)


@pytest.mark.parametrize(("status", "error"), [(401, Misconfigured), (503, Unreachable)])
async def test_other_refusals_are_told_apart(
    registry: Registry, elsewhere: Elsewhere, status: int, error: type[Exception]
) -> None:
    elsewhere.status = status
    with pytest.raises(error, match=f"says {status} to GET /schemas/ids/5"):
        await registry.fetch(5)


async def test_an_id_that_is_not_there_is_asked_for_once(
    registry: Registry, elsewhere: Elsewhere
) -> None:
    assert await registry.fetch(5) is None
    assert registry.schema(5) is None
    assert await registry.fetch(5) is None
    assert elsewhere.asked == ["/schemas/ids/5"]


async def test_an_outage_is_no_absence(registry: Registry, elsewhere: Elsewhere) -> None:
    elsewhere.status = 500
    with pytest.raises(Unreachable):
        await registry.fetch(5)
    elsewhere.status, elsewhere.schemas[5] = 200, {"name": "Late"}
    assert await registry.fetch(5) == {"name": "Late"}


async def test_nobody_there_is_unreachable_and_no_password_is_told() -> None:
    async with Registry("http://joe:secret@127.0.0.1:1") as registry:
        with pytest.raises(Unreachable, match="does not answer") as caught:
            await registry.fetch(1)
    assert "secret" not in str(caught.value)


async def test_an_event_of_a_foreign_producer_is_read_at_the_second_try(
    registry: Registry, elsewhere: Elsewhere, schemas: Schemas
) -> None:
    newer = deepcopy(schemas.current["ProjectDescribed"])
    newer["fields"].append({"name": "city", "type": "string", "default": "", "doc": "d"})
    elsewhere.schemas[7] = newer
    # project_id "p", title "", no crews, announced 1970, city "Ulm"
    value = b"\x00\x00\x00\x00\x07" + b"\x02p\x00\x00\x00\x06Ulm"
    codec = Codec(schemas, registry)
    with pytest.raises(Unreachable):
        codec.decode_any(value)
    await registry.fetch(7)
    assert codec.decode_any(value).model_dump()["project_id"] == "p"
    with pytest.raises(Unreachable):
        codec.decode_any(b"\x00\x00\x00\x00\x08")
    await registry.fetch(8)
    with pytest.raises(Undecodable, match="schema id 8 is unknown"):
        codec.decode_any(b"\x00\x00\x00\x00\x08")
