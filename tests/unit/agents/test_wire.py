"""What is sent is what is received, whatever is in it and however it is cut up."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from crewstream_agents.policy import (
    ModelPolicy,
    ModelSpec,
    Policy,
    Rate,
    Route,
    ToolPolicy,
    ToolRule,
)
from crewstream_agents.spec import (
    Account,
    BudgetAlert,
    Call,
    Candidate,
    CrewOutcome,
    CrewOutput,
    CrewTask,
    Delegation,
    Failure,
    JournalPlace,
    ModelPrice,
    Operation,
    Progress,
    Selection,
    Status,
    TaskOutput,
    Upstream,
    Usage,
)
from crewstream_agents.wire import (
    Alive,
    Cancel,
    Ended,
    Setup,
    Start,
    Underway,
    to_runner,
    to_worker,
)

NOW = datetime(2025, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
TASK = CrewTask(
    *("w/t/1", "w", "t", 1, "acme", "p", "c", "k"),
    keywords=["a"],
    upstream=[Upstream("u", "ok")],
    journal="w/t/1",
    accounts=[Account("workflow:w", max_tokens=7, max_cost_usd=Decimal("0.1"))],
    standings={"k/a": Candidate("a", 0.8, 12, 0.1)},
    agent_limits={"a": 2},
    part_of="t",
    answers=["Shorter."],
    tools=[["search_*"]],
)
OUTCOME = CrewOutcome(
    assignment_id="w/t/1",
    status=Status.FAILED,
    started_at=NOW,
    finished_at=NOW,
    failure=Failure("llm.rate_limited", "wait", retryable=True, retry_after_s=1.5),
    usage=Usage(cost_usd=Decimal("0.000000001")),
    calls=[Call(0, Operation.CHAT, NOW, 1.5, attributes={"price": "unknown"})],
    tool_failures=[],
    files=[],
    alerts=[BudgetAlert("workflow:w", "soft", "usd", Decimal("0.08"), Decimal("0.1"))],
    selections=[Selection("k", "a", "why", candidates=[Candidate("a", 0.8)], at=NOW)],
    delegations=[Delegation("m", "a", "delegate_work", "t", name="a", at=NOW)],
    attributes={"agent_name": "a"},
    epoch=2,
    covered=3,
    crew_output=CrewOutput("said", pydantic="{}", tasks_output=[TaskOutput("n", "d", "a", "said")]),
)


def reader_of(*chunks: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    for chunk in chunks:
        reader.feed_data(chunk)
    reader.feed_eof()
    return reader


@given(inputs=st.dictionaries(st.text(), st.text() | st.integers() | st.lists(st.booleans())))
def test_tasks_arrive_as_they_were_sent(inputs: dict[str, object]) -> None:
    async def scenario() -> None:
        channel = to_runner()
        sent = Start(replace(TASK, inputs=inputs))

        assert await channel.receive(reader_of(channel.encode(sent))) == sent

    asyncio.run(scenario())


async def test_outcomes_arrive_as_they_were_sent() -> None:
    channel = to_worker()

    assert await channel.receive(reader_of(channel.encode(Ended(OUTCOME)))) == Ended(OUTCOME)


async def test_progress_arrives_as_it_was_sent() -> None:
    channel = to_worker()
    news = Underway([Progress("w/t/1", NOW, agent="a", step=2)])

    assert await channel.receive(reader_of(channel.encode(news))) == news


async def test_messages_are_told_apart_however_they_are_cut() -> None:
    channel = to_runner()
    data = channel.encode(Cancel("a")) + channel.encode(Start(TASK))
    reader = reader_of(*(data[i : i + 1] for i in range(len(data))))

    assert [await channel.receive(reader) for _ in range(3)] == [Cancel("a"), Start(TASK), None]


async def test_what_runs_share_arrives_and_shows_no_password() -> None:
    channel = to_runner()
    place = JournalPlace("redis://:secret@127.0.0.1:6379/0", "crewstream")
    route = Route((ModelSpec("openai/m", key_env="K"), ModelSpec("offline")), project="p*")
    models = ModelPolicy((route,), {"openai/*": Rate(60, 1e5)}, {"p": 2.0}, retries=0)
    policy = Policy(models, ToolPolicy({"search*": ToolRule(timeout_s=5)}, stop_when_refused=True))
    setup = Setup(place, {"m": ModelPrice(Decimal("0.15"), Decimal("0.6"))}, 0.2, policy)

    assert await channel.receive(reader_of(channel.encode(setup))) == setup
    assert "secret" not in repr(setup)


async def test_half_a_message_is_the_end() -> None:
    channel = to_worker()

    assert await channel.receive(reader_of(channel.encode(Alive())[:-1])) is None
