"""What a journal answers, keeps and tells: its rules one by one, with a lease in memory."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from crewai.events.stream_context import add_stream_sink, reset_stream_sinks
from crewai.hooks.dispatch import HookAborted
from crewai.tools.tool_failure import ToolFailure
from crewsample.model import ScriptedModel
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from crewstream_agents.cancellation import StopFlag
from crewstream_agents.failures import RunRefused
from crewstream_agents.isolation import isolate
from crewstream_agents.journal import layout, seam
from crewstream_agents.journal.numbers import Numbers
from crewstream_agents.journal.record import LLM, TOOL, Record
from crewstream_agents.journal.replay import remember
from crewstream_agents.journal.result import ReplayedError, decode, encode, encode_error
from crewstream_agents.journal.store import Redises
from crewstream_agents.measure import total
from crewstream_agents.spec import JournalPlace
from support.journal_memory import MemoryLease, journal_on

NOWHERE = JournalPlace("redis://127.0.0.1:9/0", "t")


def llm(text: str, **known: Any) -> Record:
    return Record(LLM, encode(text), time.time(), **known)


def tool(result: dict[str, Any]) -> Record:
    return Record(TOOL, result, time.time(), tool="t")


class Colour(BaseModel):
    name: str


@given(st.lists(st.sampled_from(["take", "give"]), max_size=30))
def test_the_lowest_free_number_is_taken(steps: list[str]) -> None:
    numbers, held = Numbers(), set[int]()
    for step in steps:
        if step == "give" and held:
            numbers.give_back("k", held.pop())
        elif step == "take":
            taken = numbers.take("k")
            assert taken == min(set(range(len(held) + 1)) - held)
            held.add(taken)


def test_a_failure_is_replayed_only_when_a_model_was_told_of_it() -> None:
    lease = MemoryLease()
    first = journal_on(lease)
    first.keep("r:tool:a", 0, tool(encode_error(ValueError("no"))))
    assert journal_on(lease).answer("r:tool:a", 0) is None

    first.keep("r:llm:a", 0, llm("it failed"))
    answer = journal_on(lease).answer("r:tool:a", 0)

    assert answer is not None
    with pytest.raises(ReplayedError, match="no") as raised:
        decode(answer.result)
    assert type(raised.value).__name__ == "ValueError"


@pytest.mark.parametrize(
    "value",
    ["text", 1, 1.5, None, True, [1, "a"], {"a": [None]}, Colour(name="red"), [Colour(name="red")]],
)
def test_results_come_back_as_they_were(value: object) -> None:
    again = decode(Record.load(tool(encode(value)).dump()).result)

    assert (type(again), again) == (type(value), value)


def test_a_result_without_json_comes_back_as_the_agent_saw_it() -> None:
    assert decode(encode(("a", 1), None, lambda value: f"<{value}>")) == "<('a', 1)>"


def test_a_model_with_a_field_without_json_comes_back_as_the_agent_saw_it() -> None:
    class Odd(BaseModel):
        what: Any

    assert decode(encode(Odd(what=object()), None, lambda _: "odd")) == "odd"


def test_the_answer_that_was_asked_for_is_validated_again() -> None:
    kept = encode(Colour(name="red"), Colour)

    assert decode(kept, Colour) == Colour(name="red")


def test_a_tool_that_reports_a_failure_reports_it_again() -> None:
    failure = ToolFailure(message="slack said no", code="x1")

    assert decode(encode(failure)) == failure


def test_large_records_are_compressed() -> None:
    record = llm("a" * 100_000)

    assert len(record.dump()) < 5_000
    assert Record.load(record.dump()) == record


@given(text=st.text())
def test_any_text_is_kept(text: str) -> None:
    assert decode(Record.load(llm(text).dump()).result) == text


def test_each_call_is_told_of_once_over_all_attempts() -> None:
    lease = MemoryLease()
    first = journal_on(lease)
    first.keep("r:llm:a", 0, llm("one", input_tokens=7, llm_calls=1))
    assert total(first.calls()).input_tokens == 7
    lease.fields["@reported"] = b"%d" % first.covered

    second = journal_on(lease)
    record = second.answer("r:llm:a", 0)
    assert record is not None
    second.replayed("r:llm:a", 0, record)
    second.keep("r:llm:b", 0, llm("two", input_tokens=5, llm_calls=1))

    assert total(second.calls()) == total([second.calls()[0]])
    assert total(second.calls()).input_tokens == 5
    assert [(call.name, call.replayed) for call in second.calls()] == [
        ("r:llm:b:0", False),
        ("r:llm:a:0", True),
    ]


def test_a_call_keeps_the_time_when_it_was_paid() -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    record = Record(LLM, encode("x"), at.timestamp(), duration_ms=5.0, cost_usd="")

    call = record.call("r:llm:a:0")

    assert (call.started_at, call.duration_ms) == (at, 5.0)
    assert dict(call.attributes) == {"price": "unknown"}


def test_records_that_are_not_all_known_are_not_said_to_be_covered() -> None:
    lease = MemoryLease()
    journal = journal_on(lease)
    lease.fields["@seq"] = b"1"  # another thread's, which has not come back yet

    journal.keep("r:llm:b", 0, llm("two"))

    assert (journal.covered, journal.calls()) == (0, [])


def test_what_cannot_be_written_stops_the_run_for_good() -> None:
    lease = MemoryLease()
    journal = journal_on(lease)
    lease.away = RunRefused("run.fenced", "taken over", retryable=True)

    with pytest.raises(HookAborted):
        journal.keep("r:llm:a", 0, llm("x"))
    with pytest.raises(HookAborted):
        journal.flag.check()
    assert journal.flag.error is lease.away


def test_an_error_of_the_store_is_a_failure_that_may_be_tried_again() -> None:
    lease = MemoryLease()
    journal = journal_on(lease)
    lease.away = TypeError("WRONGTYPE")

    with pytest.raises(HookAborted):
        journal.keep("r:llm:a", 0, llm("x"))

    assert isinstance(journal.flag.error, RunRefused)
    assert journal.flag.error.failure.error_type == "journal.failed"
    assert journal.flag.error.failure.retryable


def test_a_value_of_the_host_is_computed_once() -> None:
    lease = MemoryLease()
    with journal_on(lease).answering():
        assert [remember("score", lambda: 1), remember("score", lambda: 2)] == [1, 2]
    with journal_on(lease).answering():
        assert remember("score", lambda: 3) == 1
    assert remember("score", lambda: 4) == 4
    assert not journal_on(lease).calls()


def test_a_replayed_answer_is_streamed_as_one_chunk_and_used_nothing() -> None:
    isolate()
    seam.install()
    lease, events = MemoryLease(), list[Any]()
    model = ScriptedModel(model="scripted/x", compose=lambda *_: "the whole text", stream=True)
    with journal_on(lease).answering():
        said = model.call("hello")
    sink = add_stream_sink(lambda _, event: events.append(event))
    try:
        with journal_on(lease).answering():
            assert model.call("hello") == said
    finally:
        reset_stream_sinks(sink)

    assert [event.type for event in events] == [
        "llm_call_started",
        "llm_stream_chunk",
        "llm_call_completed",
    ]
    assert events[1].chunk == said
    assert (events[2].usage["total_tokens"], events[2].usage["replayed"]) == (0, True)


def test_outside_of_a_run_nothing_is_journaled() -> None:
    seam.install()
    lease = MemoryLease()
    journal_on(lease)

    ScriptedModel(model="scripted/x").call("hello")

    assert not lease.fields


def test_a_loop_that_waits_for_redis_is_heard_of() -> None:
    beats = []
    flag = StopFlag()

    def beat() -> None:
        beats.append(1)
        if len(beats) == 2:
            flag.stop()

    redises = Redises(NOWHERE, beat)
    with pytest.raises(HookAborted):
        redises.ask(layout.RELEASE, ["k"], [1, "f", ""], flag)
    redises.close()

    assert len(beats) == 2


async def test_a_thread_that_waits_for_redis_lets_the_loop_speak_for_itself() -> None:
    beats: list[int] = []
    flag = StopFlag()
    redises = Redises(NOWHERE, lambda: beats.append(1))
    asking = asyncio.create_task(
        asyncio.to_thread(redises.ask, layout.RELEASE, ["k"], [1, "f", ""], flag)
    )
    await asyncio.sleep(0.2)
    assert not asking.done()
    flag.stop()

    with pytest.raises(HookAborted):
        await asking
    redises.close()
    assert not beats
