"""CrewAI's events of a run -> our measurements."""

from __future__ import annotations

import logging
import threading
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import genai_prices
from crewai.types.usage_metrics import UsageMetrics

from crewstream_agents.spec import Call, ModelPrice, Operation, ToolFailure, Usage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

logger = logging.getLogger(__name__)

MICROCENT: Final = Decimal("1E-9")
"""The finest part of a dollar that an event carries."""

_STARTS: Final[Mapping[str, Operation]] = {
    "agent_execution_started": Operation.INVOKE_AGENT,
    "llm_call_started": Operation.CHAT,
    "tool_usage_started": Operation.EXECUTE_TOOL,
}
_ENDS: Final[Mapping[str, str]] = {
    "agent_execution_completed": "",
    "agent_execution_error": "agent.failed",
    "llm_call_completed": "",
    "llm_call_failed": "llm.failed",
    "tool_usage_finished": "",
    "tool_usage_error": "tool.failed",
}


@dataclass(slots=True)
class ToolUse:
    """A tool's call as CrewAI tells of it, around the tool itself.

    `journaled`: the journal has measured what ran inside, so nothing is measured here.
    """

    agent: str
    journaled: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's answer: measured, and as CrewAI's event tells of it."""

    call: Call
    event: Any


answers: ContextVar[list[Answer] | None] = ContextVar("crewstream_answers", default=None)
"""Takes the model's answers of a call that is journaled: the journal measures them."""

notes: ContextVar[Mapping[str, str] | None] = ContextVar("crewstream_notes", default=None)
"""What is measured of the model call under way beside what CrewAI tells of it."""

tool_use: ContextVar[ToolUse | None] = ContextVar("crewstream_tool_use", default=None)
"""The tool's call that is being told of."""


@dataclass(slots=True)
class Recorder:
    """The calls of one run, in the order in which they started. Fed from several threads.

    `offline`: no model is used, so nothing costs anything. `prices` replace the published ones.
    `guardrail_failures`: how often a guardrail refused what an agent had brought.
    """

    offline: bool = False
    prices: Mapping[str, ModelPrice] = field(default_factory=dict)
    guardrail_failures: int = 0
    _open: dict[str, Call] = field(default_factory=dict)
    _uses: dict[str, ToolUse] = field(default_factory=dict)
    _closed: list[Call] = field(default_factory=list)
    _failures: list[ToolFailure] = field(default_factory=list)
    _started: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def sink(self, source: object, event: Any) -> None:
        """Take an event of the run. Never raises: CrewAI lets a sink's error break the crew."""
        try:
            with self._lock:
                self._take(source, event)
        except Exception:
            logger.exception("an event of CrewAI could not be measured: %s", event)

    def calls(self, unfinished: str = "") -> Sequence[Call]:
        """All calls; the ones still open ended now, with `unfinished` as their error type."""
        with self._lock:
            now = datetime.now(UTC)
            cut = [
                _close(call, now, error_type=unfinished)
                for key, call in self._open.items()
                if not (key in self._uses and self._uses[key].journaled)
            ]
            return sorted([*self._closed, *cut], key=lambda call: call.sequence)

    def tool_failures(self) -> Sequence[ToolFailure]:
        return tuple(self._failures)

    def cost(self, provider: str, model: str, usage: Usage) -> Decimal | None:
        """US dollars of a call; None for a model that has no price."""
        return Decimal(0) if self.offline else price(provider, model, usage, self.prices)

    def _take(self, source: object, event: Any) -> None:
        kind: str = event.type
        if kind in _STARTS:
            self._start(source, event, _STARTS[kind])
        elif kind in _ENDS:
            self._end(event, _ENDS[kind])
        elif kind == "llm_guardrail_completed" and not event.success:
            self.guardrail_failures += 1
        elif kind == "tool_failure_detected":
            self._failures.append(ToolFailure(event.tool_name, event.failure.as_agent_message()))

    def _start(self, source: object, event: Any, operation: Operation) -> None:
        model = str(getattr(event, "model", None) or "")
        key = _key(event, event.event_id)
        if operation is Operation.EXECUTE_TOOL:
            self._uses[key] = use = ToolUse(_agent(event))
            tool_use.set(use)
        self._open[key] = Call(
            sequence=self._started,
            operation=operation,
            started_at=event.timestamp,
            duration_ms=0.0,
            agent=_agent(event),
            tool=getattr(event, "tool_name", ""),
            provider=provider_of(source, model) if operation is Operation.CHAT else "",
            model=model,
            attributes=_of_task(event) if operation is Operation.INVOKE_AGENT else {},
        )
        self._started += 1

    def _end(self, event: Any, error_type: str) -> None:
        key = _key(event, event.started_event_id)
        call = self._open.pop(key, None)
        use = self._uses.pop(key, None)
        if call is None or (use is not None and use.journaled):
            return
        if getattr(event, "failure", None) is not None:
            error_type = "tool.failed"
        closed = _close(call, event.timestamp, error_type=error_type)
        if call.operation is Operation.CHAT:
            closed = replace(closed, attributes=dict(notes.get() or {}))
            closed = self._price(closed, getattr(event, "usage", None))
            taken = answers.get()
            if taken is not None and not error_type:
                taken.append(Answer(closed, event))
                return
        self._closed.append(closed)

    def _price(self, call: Call, reported: Mapping[str, Any] | None) -> Call:
        tokens = UsageMetrics.from_provider_dict(dict(reported or {})) or UsageMetrics()
        usage = Usage(
            input_tokens=tokens.prompt_tokens,
            output_tokens=tokens.completion_tokens,
            cached_tokens=tokens.cached_prompt_tokens,
            llm_calls=1,
        )
        cost = self.cost(call.provider, call.model, usage)
        if cost is None:
            return replace(call, usage=usage, attributes={**call.attributes, "price": "unknown"})
        return replace(call, usage=replace(usage, cost_usd=cost))


def total(calls: Sequence[Call]) -> Usage:
    """What the calls of a run consumed together; one that was replayed consumed nothing."""
    calls = [call for call in calls if not call.replayed]
    spent = [call.usage for call in calls]
    return Usage(
        input_tokens=sum(u.input_tokens for u in spent),
        output_tokens=sum(u.output_tokens for u in spent),
        cached_tokens=sum(u.cached_tokens for u in spent),
        llm_calls=sum(u.llm_calls for u in spent),
        tool_calls=sum(call.operation is Operation.EXECUTE_TOOL for call in calls),
        cost_usd=sum((u.cost_usd for u in spent), Decimal(0)),
    )


def price(
    provider: str, model: str, usage: Usage, prices: Mapping[str, ModelPrice] | None = None
) -> Decimal | None:
    """US dollars of a call, by `prices` or else the published list; None for an unknown model.

    `model` is as CrewAI names it, with or without its provider in front; so are those of `prices`.
    """
    bare = model.removeprefix(f"{provider}/")
    for name in (model, bare, f"{provider}/{bare}"):
        if prices and name in prices:
            return _by_list(prices[name], usage)
    tokens = genai_prices.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cached_tokens,
    )
    try:
        found = genai_prices.calc_price(tokens, bare, provider_id=provider)
    except LookupError:
        return None
    return Decimal(found.total_price).quantize(MICROCENT)


def _by_list(listed: ModelPrice, usage: Usage) -> Decimal:
    cached_usd = listed.input_usd if listed.cached_input_usd is None else listed.cached_input_usd
    cached = min(usage.cached_tokens, usage.input_tokens)
    cost = (
        listed.input_usd * (usage.input_tokens - cached)
        + cached_usd * cached
        + listed.output_usd * usage.output_tokens
    ) / 1_000_000
    return cost.quantize(MICROCENT)


def _key(event: Any, scope: str | None) -> str:
    """What pairs the end of a call with its start: the model's call id, else CrewAI's scope."""
    return str(getattr(event, "call_id", None) or scope)


def _close(call: Call, at: datetime, *, error_type: str) -> Call:
    duration_ms = max(0.0, (at - call.started_at).total_seconds() * 1000)
    return replace(call, duration_ms=duration_ms, error_type=error_type)


def _of_task(event: Any) -> Mapping[str, str]:
    """Which of the crew's tasks an agent works at; nothing for what another agent has asked for."""
    name = getattr(event.task, "name", None)
    return {"crew_task": str(name)} if name else {}


def _agent(event: Any) -> str:
    agent = getattr(event, "agent", None)
    return str(getattr(agent, "role", None) or event.agent_role or "")


def provider_of(llm: object, model: str) -> str:
    """The provider that CrewAI resolved, else the one that the model's name starts with."""
    named, slash, _ = model.partition("/")
    return str(getattr(llm, "provider", "") or (named if slash else ""))
