"""Tokens are counted once and priced by the published list; what has no price says so."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from crewai.events.types.llm_events import LLMCallCompletedEvent, LLMCallStartedEvent, LLMCallType

from crewstream_agents.measure import Recorder, price, total
from crewstream_agents.spec import Operation, Usage

USED = {"prompt_tokens": 1_000_000, "completion_tokens": 1_000_000, "cached_tokens": 0}


def chat(recorder: Recorder, model: str, provider: str, call_id: str = "c") -> None:
    llm: Any = SimpleNamespace(provider=provider)
    recorder.sink(llm, LLMCallStartedEvent(call_id=call_id, model=model))
    recorder.sink(
        llm,
        LLMCallCompletedEvent(
            call_id=call_id,
            model=model,
            response="x",
            call_type=LLMCallType.LLM_CALL,
            usage=USED,
        ),
    )


def test_a_known_model_has_its_price() -> None:
    recorder = Recorder()
    chat(recorder, "gpt-4o-mini", "openai")

    (call,) = recorder.calls()
    assert call.usage.cost_usd == Decimal("0.75")
    assert (call.provider, call.model, dict(call.attributes)) == ("openai", "gpt-4o-mini", {})


def test_an_unknown_model_costs_nothing_and_says_so() -> None:
    recorder = Recorder()
    chat(recorder, "hosted_vllm/local", "")

    (call,) = recorder.calls()
    assert (call.provider, call.usage.cost_usd) == ("hosted_vllm", Decimal(0))
    assert dict(call.attributes) == {"price": "unknown"}


def test_offline_costs_nothing() -> None:
    recorder = Recorder(offline=True)
    chat(recorder, "gpt-4o-mini", "openai")

    (call,) = recorder.calls()
    assert (call.usage.cost_usd, dict(call.attributes)) == (Decimal(0), {})


def test_the_prefix_of_a_model_is_no_part_of_its_name() -> None:
    usage = Usage(input_tokens=1_000_000)

    assert price("openai", "openai/gpt-4o-mini", usage) == Decimal("0.15")


def test_a_total_is_the_sum_of_the_calls() -> None:
    recorder = Recorder()
    chat(recorder, "gpt-4o-mini", "openai", "a")
    chat(recorder, "gpt-4o-mini", "openai", "b")

    summed = total(recorder.calls())
    assert (summed.input_tokens, summed.llm_calls, summed.tool_calls) == (2_000_000, 2, 0)
    assert summed.cost_usd == Decimal("1.50")


def test_a_call_that_never_ended_is_reported_as_cut() -> None:
    recorder = Recorder()
    recorder.sink(None, LLMCallStartedEvent(call_id="c", model="gpt-4o-mini"))

    (call,) = recorder.calls(unfinished="task.timeout")
    assert (call.operation, call.error_type) == (Operation.CHAT, "task.timeout")


def test_an_event_that_cannot_be_read_breaks_nothing() -> None:
    recorder = Recorder()
    unreadable: Any = SimpleNamespace(type="llm_call_started")
    recorder.sink(None, unreadable)

    assert recorder.calls() == []
