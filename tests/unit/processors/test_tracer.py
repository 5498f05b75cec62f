"""Measurements become one trace a workflow, the same one each time that they are read."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Sent

from crewstream.adapters.otlp import Collector, headers
from crewstream.contracts.events import Measured, Operation
from crewstream.domain.spans import GENAI, Span
from crewstream.errors import Misconfigured, Unreachable
from crewstream.processors.tracer import Tracer
from crewstream.records import Inbound
from support import measured
from support.measured import CODEC, TRACE

NOW = datetime(2026, 3, 4, 5, 6, 7, 89, tzinfo=UTC)
PARENT = (("traceparent", measured.PARENT.encode()),)
WORKFLOW = "w-3"  # of two tasks, the first of which was tried twice


def records(workflow: str = WORKFLOW) -> list[Inbound]:
    found = measured.week(NOW)[0]
    decoded = [(record, CODEC.decode(record.value, Measured)) for record in found]
    # As a worker sends them: an attempt, then what was in it by the time of its start.
    mine = [(record, event) for record, event in decoded if event.workflow_id == workflow]
    order = ("invoke_workflow", "task", "invoke_agent", "chat", "execute_tool")
    mine.sort(key=lambda pair: (pair[1].assignment_id, order.index(pair[1].operation)))
    return [replace(record, headers=PARENT) for record, _ in mine]


def spans() -> list[Span]:
    return list(Tracer(CODEC).spans(records()))


def tree(found: list[Span]) -> Mapping[str, list[str]]:
    """Names of what is directly under each span, by its name."""
    names = {each.span_id: each.name for each in found}
    under: dict[str, list[str]] = {}
    for each in found:
        under.setdefault(names.get(each.parent_id, "outside"), []).append(each.name)
    return {name: sorted(each) for name, each in under.items()}


def test_a_workflow_is_one_tree_under_the_span_that_asked_for_it() -> None:
    found = spans()
    assert {each.trace_id for each in found} == {TRACE}
    (root,) = [each for each in found if each.name.startswith("invoke_workflow")]
    assert root.parent_id == measured.PARENT.split("-")[2]
    assert tree(found) == {
        "outside": ["invoke_workflow campaign"],
        "invoke_workflow campaign": ["task research", "task research", "task write"],
        "task research": ["invoke_agent Market Analyst"] * 2,
        "task write": ["invoke_agent Copywriter"],
        "invoke_agent Market Analyst": ["chat claude"] * 4 + ["execute_tool search"] * 2,
        "invoke_agent Copywriter": ["chat claude"] * 2 + ["execute_tool search"],
    }


def test_a_replay_makes_the_same_spans_and_no_others() -> None:
    first, again = spans(), spans()
    assert first == again
    assert len({each.span_id for each in first}) == len(first)


def test_a_workflow_without_trace_context_has_a_trace_of_its_own() -> None:
    events = [CODEC.decode(record.value, Measured) for record in records()]
    bare = [event.model_copy(update={"trace_id": ""}) for event in events]
    found = Tracer(CODEC).spans(measured.record(each, "m", n) for n, each in enumerate(bare))
    (trace,) = {each.trace_id for each in found}
    assert len(trace) == 32
    assert trace != TRACE
    assert [each.parent_id for each in found if each.name.startswith("invoke_w")] == [""]


@pytest.mark.parametrize("trace", ["0" * 32, "g" * 32, "ABCDEF" * 5 + "00", "short"])
def test_a_trace_context_that_is_none_is_not_used(trace: str) -> None:
    events = [CODEC.decode(record.value, Measured) for record in records()]
    broken = [event.model_copy(update={"trace_id": trace}) for event in events]
    header = (("traceparent", f"00-{trace}-{'0' * 16}-01".encode()),)
    sent = [replace(measured.record(each, "m", n), headers=header) for n, each in enumerate(broken)]
    found = Tracer(CODEC).spans(sent)
    assert len({each.trace_id for each in found} | {trace}) == 2
    assert [each.parent_id for each in found if each.name.startswith("invoke_w")] == [""]


def test_what_is_unreadable_or_took_no_time_is_no_span() -> None:
    resource = Measured(
        event_id="e", occurred_at=NOW, tenant_id="t", project_id="p", operation=Operation.RESOURCE
    )
    junk = Inbound("m", 0, 0, None, b"junk", (), 0)
    assert list(Tracer(CODEC).spans([junk, measured.record(resource, "m", 1)])) == []


def test_a_call_is_told_in_the_words_of_the_conventions() -> None:
    chat = next(each for each in spans() if each.name == "chat claude")
    told = {name: chat.attributes[name] for name in GENAI if name in chat.attributes}
    assert told == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "claude",
        "gen_ai.response.model": "claude",
        "gen_ai.usage.input_tokens": 900,
        "gen_ai.usage.output_tokens": 300,
        "gen_ai.usage.cache_read.input_tokens": 100,
        "gen_ai.agent.name": chat.attributes["gen_ai.agent.name"],
    }


async def test_a_collector_gets_them_by_otlp() -> None:
    got: list[ExportTraceServiceRequest] = []
    keys: list[str] = []
    refuses = asyncio.Event()

    async def receive(request: web.Request) -> web.Response:
        if refuses.is_set():
            return web.Response(status=400)
        keys.append(request.headers["x-key"])
        got.append(ExportTraceServiceRequest.FromString(await request.read()))
        return web.Response(content_type="application/x-protobuf")

    app = web.Application()
    app.router.add_post("/v1/traces", receive)
    async with TestServer(app) as server:
        collector = Collector(str(server.make_url("/")), headers("x-key=a%20b"))
        ours = spans()
        await collector.send(ours)
        refuses.set()
        with pytest.raises(Unreachable, match="does not take spans"):
            await collector.send(ours)
        await collector.close()
    (request,) = got
    (resource,) = request.resource_spans
    assert keys == ["a b"]
    assert resource.resource.attributes[0].value.string_value == "crewstream"
    sent = {each.span_id.hex(): each for scope in resource.scope_spans for each in scope.spans}
    assert sent.keys() == {each.span_id for each in ours}
    for each in ours:
        span = sent[each.span_id]
        assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, each.parent_id)
        assert (span.name, span.status.message) == (each.name, each.error)
        lasted = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9
        assert lasted == pytest.approx((each.ended_at - each.started_at).total_seconds())
    kinds = {each.name.split()[0]: each.kind for each in sent.values()}
    assert kinds["chat"] == Sent.SPAN_KIND_CLIENT
    assert kinds["task"] == Sent.SPAN_KIND_CONSUMER


def test_headers_that_are_none_are_refused() -> None:
    assert headers("") == {}
    with pytest.raises(Misconfigured, match="name=value"):
        headers("secret")
