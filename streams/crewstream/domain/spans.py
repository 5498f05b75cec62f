"""A measurement as a span: the one place where our words become those of OpenTelemetry.

Source: OpenTelemetry semantic conventions for generative AI systems, still in development, hence
in one file: https://github.com/open-telemetry/semantic-conventions-genai
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import blake2b

from crewstream.contracts.events import Measured, MeasuredStatus, Operation

Value = str | int | float | bool
TRACE_ID_BYTES, SPAN_ID_BYTES = 16, 8
_HEX = set("0123456789abcdef")

NAMES: Mapping[Operation, Callable[[Measured], str]] = {
    Operation.INVOKE_WORKFLOW: lambda event: event.workflow_type,
    Operation.TASK: lambda event: event.task_type,
    Operation.INVOKE_AGENT: lambda event: event.agent,
    Operation.CHAT: lambda event: event.model,
    Operation.EXECUTE_TOOL: lambda event: event.tool,
}
"""What becomes a span, and what its name says after the operation."""

GENAI: Mapping[str, Callable[[Measured], Value]] = {
    "gen_ai.operation.name": lambda event: str(event.operation),
    "gen_ai.provider.name": lambda event: event.provider,
    "gen_ai.request.model": lambda event: event.model if event.operation == Operation.CHAT else "",
    "gen_ai.response.model": lambda event: event.model if event.operation == Operation.CHAT else "",
    "gen_ai.usage.input_tokens": lambda event: event.input_tokens,
    "gen_ai.usage.output_tokens": lambda event: event.output_tokens,
    "gen_ai.usage.cache_read.input_tokens": lambda event: event.cached_tokens,
    "gen_ai.agent.name": lambda event: (
        event.workflow_type if event.operation == Operation.INVOKE_WORKFLOW else event.agent
    ),
    "gen_ai.tool.name": lambda event: event.tool,
    "error.type": lambda event: event.error_type,
}
OURS: Mapping[str, Callable[[Measured], Value]] = {
    "crewstream.tenant.id": lambda event: event.tenant_id,
    "crewstream.project.id": lambda event: event.project_id,
    "crewstream.workflow.id": lambda event: event.workflow_id,
    "crewstream.workflow.type": lambda event: event.workflow_type,
    "crewstream.task.id": lambda event: event.task_id,
    "crewstream.task.type": lambda event: event.task_type,
    "crewstream.attempt": lambda event: event.attempt,
    "crewstream.crew": lambda event: event.crew,
    "crewstream.worker": lambda event: event.worker,
    "crewstream.queue_ms": lambda event: event.queue_ms or 0.0,
    "crewstream.cost_usd": lambda event: float(event.cost_usd),
    "crewstream.replayed": lambda event: event.replayed,
    "crewstream.offline": lambda event: event.offline,
}
"""What the conventions have no name for."""
READ = {**GENAI, **OURS}


@dataclass(frozen=True, slots=True)
class Span:
    """A finished span; ids are hexadecimal as in W3C trace context, `parent_id` "" for a root."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    operation: Operation
    started_at: datetime
    ended_at: datetime
    error: str = ""
    attributes: Mapping[str, Value] = field(default_factory=dict)


def is_span(event: Measured) -> bool:
    """Whether it is about something that took time within a workflow."""
    return event.operation in NAMES and bool(event.workflow_id)


def span(event: Measured, parent_id: str) -> Span:
    """The span of a measurement; the same one each time that it is measured or read again."""
    ended = event.occurred_at
    failed = event.status not in {MeasuredStatus.OK, MeasuredStatus.UNKNOWN}
    return Span(
        trace_id=trace_id(event),
        span_id=span_id(event),
        parent_id=parent_id,
        name=f"{event.operation} {NAMES[event.operation](event)}".strip(),
        operation=event.operation,
        started_at=ended - timedelta(milliseconds=event.duration_ms or 0.0),
        ended_at=ended,
        error=(event.error_type or str(event.status)) if failed else "",
        attributes={
            name: value for name, read in {**GENAI, **OURS}.items() if (value := read(event))
        },
    )


def trace_id(event: Measured) -> str:
    """The trace that the request came with, else one made from the workflow: one a workflow."""
    if is_id(event.trace_id, TRACE_ID_BYTES):
        return event.trace_id
    return _id(TRACE_ID_BYTES, "trace", event.workflow_id)


def is_id(text: str, size: int) -> bool:
    """Whether a trace context may have it: lower-case hexadecimal of `size` bytes, not all 0."""
    return len(text) == 2 * size and set(text) <= _HEX and set(text) != {"0"}


def span_id(event: Measured) -> str:
    """An id of the span, known to its children before they see it where they have to name it."""
    if event.operation == Operation.INVOKE_WORKFLOW:
        return workflow_span_id(event)
    if event.operation == Operation.TASK:
        return task_span_id(event)
    return _id(SPAN_ID_BYTES, "event", event.event_id)


def workflow_span_id(event: Measured) -> str:
    """The span of the workflow that an event belongs to."""
    return _id(SPAN_ID_BYTES, "workflow", event.workflow_id)


def task_span_id(event: Measured) -> str:
    """The span of the attempt that an event belongs to."""
    return _id(SPAN_ID_BYTES, "attempt", event.assignment_id)


def _id(size: int, *parts: str) -> str:
    return blake2b("\0".join(parts).encode(), digest_size=size).hexdigest()
