"""Measurements -> spans: one trace a workflow, across all processes that worked on it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from datetime import datetime

from crewstream.contracts import envelope
from crewstream.contracts.codec import Codec
from crewstream.contracts.events import Measured, Operation
from crewstream.domain import spans
from crewstream.domain.spans import Span
from crewstream.errors import Undecodable
from crewstream.records import Inbound

MOST_ATTEMPTS = 10_000
"""Attempts whose agents are remembered; the events of one arrive together."""


class Tracer:
    """Turns measurements into spans, each under what it happened in.

    Ids are made from what was measured, so a record that is read again makes the same span again.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._agents: OrderedDict[str, list[Span]] = OrderedDict()

    def spans(self, records: Iterable[Inbound]) -> Sequence[Span]:
        """The spans of these records, in their order; the recorder tells of what is unreadable."""
        found = []
        for record in records:
            try:
                event = self._codec.decode(record.value, Measured)
            except Undecodable:
                continue
            if spans.is_span(event):
                found.append(self._span(event, record))
        return found

    def _span(self, event: Measured, record: Inbound) -> Span:
        made = spans.span(event, self._parent(event, record))
        if event.operation == Operation.INVOKE_AGENT:
            self._remember(event.assignment_id, made)
        return made

    def _parent(self, event: Measured, record: Inbound) -> str:
        if event.operation == Operation.INVOKE_WORKFLOW:
            return _requester(record, event)
        if event.operation == Operation.TASK:
            return spans.workflow_span_id(event)
        if event.operation == Operation.INVOKE_AGENT:
            return spans.task_span_id(event)
        started = spans.span(event, "").started_at
        return self._agent_at(event.assignment_id, started) or spans.task_span_id(event)

    def _agent_at(self, attempt: str, at: datetime) -> str:
        """The agent that was at work then, the one that began last; an attempt may have several.

        Agents come before their calls: a worker sends what it measured in the order of the starts.
        """
        at_work = [
            one for one in self._agents.get(attempt, ()) if one.started_at <= at <= one.ended_at
        ]
        return max(at_work, key=lambda one: one.started_at).span_id if at_work else ""

    def _remember(self, attempt: str, agent: Span) -> None:
        self._agents.setdefault(attempt, []).append(agent)
        self._agents.move_to_end(attempt)
        while len(self._agents) > MOST_ATTEMPTS:
            self._agents.popitem(last=False)


def _requester(record: Inbound, event: Measured) -> str:
    """The span of whoever asked for the workflow, by the trace context that came with it."""
    _, trace, span, *_ = (*envelope.read(record.headers).traceparent.split("-"), "", "", "")
    same = trace == spans.trace_id(event)
    return span if same and spans.is_id(span, spans.SPAN_ID_BYTES) else ""
