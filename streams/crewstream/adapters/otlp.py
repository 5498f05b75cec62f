"""Spans to an OpenTelemetry collector, by OTLP over HTTP. Sole importer of opentelemetry."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any
from urllib.parse import unquote

from crewstream.contracts.events import Operation
from crewstream.domain.spans import Span
from crewstream.errors import Misconfigured, Unreachable

PATH = "/v1/traces"
MOST_SPANS = 512
"""In one request: what the SDK's own processor sends at once."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Collector:
    """A collector at `endpoint`, such as http://127.0.0.1:4318; `headers` go with every request.

    Raises Misconfigured when the extra `otel` is not installed.
    """

    def __init__(self, endpoint: str, headers: Mapping[str, str], timeout_s: float = 10.0) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
                OTLPSpanExporter,
            )
        except ImportError as error:
            raise Misconfigured(
                "CREWSTREAM_OTLP_ENDPOINT is set, but OpenTelemetry is not installed: "
                "pip install 'crewstream[otel]'"
            ) from error
        # What it says of a collector that is away is told by who waits for it.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._place = endpoint
        self._exporter = OTLPSpanExporter(
            endpoint=endpoint.rstrip("/").removesuffix(PATH) + PATH,
            headers=dict(headers),
            timeout=timeout_s,
        )
        self._made = _Made()

    async def send(self, spans: Sequence[Span]) -> None:
        """Send the spans. Raises Unreachable: the collector is away, or does not take them."""
        for start in range(0, len(spans), MOST_SPANS):
            made = [self._made.span(each) for each in spans[start : start + MOST_SPANS]]
            result = await asyncio.to_thread(self._exporter.export, made)
            if result.name != "SUCCESS":
                raise Unreachable(f"the collector at {self._place} does not take spans")

    async def close(self) -> None:
        """Let go of the connections."""
        await asyncio.to_thread(self._exporter.shutdown)


class _Made:
    """Makes the SDK's spans of ours."""

    def __init__(self) -> None:
        from opentelemetry import trace  # noqa: PLC0415  (an extra)
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415  (the same)
        from opentelemetry.sdk.trace import ReadableSpan  # noqa: PLC0415  (the same)
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope  # noqa: PLC0415

        self._trace, self._span = trace, ReadableSpan
        ours = version("crewstream")
        self._resource = Resource({"service.name": "crewstream", "service.version": ours})
        self._scope = InstrumentationScope("crewstream", ours)
        kinds = trace.SpanKind
        self._kinds = {Operation.CHAT: kinds.CLIENT, Operation.TASK: kinds.CONSUMER}

    def span(self, ours: Span) -> Any:
        """The same span in the SDK's words."""
        parent = self._context(ours.trace_id, ours.parent_id) if ours.parent_id else None
        code = self._trace.StatusCode.ERROR if ours.error else self._trace.StatusCode.UNSET
        return self._span(
            name=ours.name,
            context=self._context(ours.trace_id, ours.span_id),
            parent=parent,
            resource=self._resource,
            attributes=dict(ours.attributes),
            kind=self._kinds.get(ours.operation, self._trace.SpanKind.INTERNAL),
            instrumentation_scope=self._scope,
            status=self._trace.Status(code, ours.error or None),
            start_time=_nanoseconds(ours.started_at),
            end_time=_nanoseconds(ours.ended_at),
        )

    def _context(self, trace_id: str, span_id: str) -> Any:
        return self._trace.SpanContext(
            trace_id=int(trace_id, 16),
            span_id=int(span_id, 16),
            is_remote=True,
            trace_flags=self._trace.TraceFlags(self._trace.TraceFlags.SAMPLED),
        )


def _nanoseconds(at: datetime) -> int:
    past = at - _EPOCH
    return ((past.days * 86_400 + past.seconds) * 1_000_000 + past.microseconds) * 1000


def headers(text: str) -> Mapping[str, str]:
    """`name=value,name=value`, values percent-encoded, as in OTEL_EXPORTER_OTLP_HEADERS.

    Raises Misconfigured.
    """
    pairs = [each.partition("=") for each in text.split(",") if each.strip()]
    if any(not name.strip() or not sign for name, sign, _ in pairs):
        raise Misconfigured("CREWSTREAM_OTLP_HEADERS is name=value,name=value")
    return {name.strip(): unquote(value.strip()) for name, _, value in pairs}
