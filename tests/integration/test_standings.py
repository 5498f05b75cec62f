"""From measurements to the agent that is chosen: records in ClickHouse, standings in Redis."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis
from typer.testing import CliRunner

from crewstream.adapters.clickhouse import Analytics, connect
from crewstream.adapters.redis import connect as connect_redis
from crewstream.adapters.standings import Standings
from crewstream.analytics import library
from crewstream.analytics.migrations import Place, migrate
from crewstream.app.standings import publish, publish_always
from crewstream.cli.main import app
from crewstream.config import Settings
from crewstream.contracts.codec import Codec
from crewstream.contracts.events import Measured, MeasuredStatus, Operation, WorkflowState
from crewstream.contracts.schemas import Schemas
from crewstream.errors import Unreachable
from crewstream.processors.recorder import Recorder, Topics
from crewstream.records import Inbound
from crewstream_agents.selection import ordered, unknown

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

NOW = datetime.now(UTC)
PREFIX = f"t{uuid.uuid4().hex[:8]}"
OK, ERROR = MeasuredStatus.OK, MeasuredStatus.ERROR
SCHEMAS = Schemas.load()
CODEC = Codec(SCHEMAS)


def event(number: int, operation: Operation, **known: Any) -> Measured:
    return Measured.model_validate(
        {
            "event_id": str(uuid.UUID(int=number)),
            "occurred_at": NOW - timedelta(minutes=1),
            "tenant_id": "acme",
            "project_id": "shop",
            "crew": "desk",
            "workflow_id": f"w{number}",
            "task_id": "t",
            "assignment_id": f"w{number}/t/1",
            "attempt": 1,
            "operation": operation,
            "status": OK,
            **known,
        }
    )


def task(number: int, agent: str, **known: Any) -> Measured:
    attributes = {"agent_name": agent, **known.pop("attributes", {})}
    told = {"task_type": "quote", "duration_ms": 1000.0, "agent": agent.title(), **known}
    return event(number, Operation.TASK, attributes=attributes, **told)


def events() -> Iterator[Measured]:
    """Alice: 8 quotes, one of them not at once. Bob: 8, of which half failed, slowly and dearly."""
    for number in range(1, 9):
        yield task(number, "alice")
    yield task(9, "alice", attempt=2)
    for number in range(11, 19):
        status = OK if number % 2 else ERROR
        yield task(number, "bob", status=status, error_type="crew.failed", duration_ms=3000.0)
        paid = event(100 + number, Operation.CHAT, task_type="quote", cost_usd=Decimal("0.02"))
        yield paid.changed({"assignment_id": f"w{number}/t/1", "workflow_id": f"w{number}"})
    # Three that say nothing of Bob: cancelled, out of money, before it was known who does it.
    yield task(21, "bob", status=MeasuredStatus.CANCELLED)
    yield task(22, "bob", status=ERROR, error_type="budget.exceeded")
    yield event(23, Operation.TASK, task_type="quote", status=ERROR, error_type="crew.invalid")
    yield from qualities()
    yield from whole_crews()
    for number, status in ((71, OK), (72, ERROR)):
        told = {"manager": "Boss", "agent_name": "bob"}
        yield event(number, Operation.DELEGATION, status=status, attributes=told, duration_ms=5.0)
    yield event(73, Operation.DELEGATION, status=ERROR, attributes={"agent_name": ""})


def qualities() -> Iterator[Measured]:
    """Five offers: judged, refused by a guardrail, a failed tool, sent back, and turned down."""
    for number, told in enumerate(
        (
            {"quality": "0.4", "guardrail_failures": "3"},
            {"guardrail_failures": "1"},
            {"tool_failures": "1"},
            {"sent_back": "1"},
            {},
        ),
        31,
    ):
        yield task(number, "carol", task_type="offer", attributes=told)


def turned_down() -> WorkflowState:
    """A person would not have the last offer sent."""
    why = {"error_type": "approval.rejected", "message": "not like this"}
    send = {"task_id": "send", "status": "failed", "depends_on": ["t"], "failure": why}
    offer = {"task_id": "t", "status": "succeeded"}
    known = {"project_id": "shop", "crew": "desk", "task_type": ""}
    return WorkflowState.model_validate(
        {
            "workflow_id": "w35",
            "tenant_id": "acme",
            "project_id": "shop",
            "version": 5,
            "status": "failed",
            **dict.fromkeys(("requested_at", "accepted_at", "updated_at"), NOW),
            "tasks": [{**known, **offer}, {**known, **send}],
        }
    )


def whole_crews() -> Iterator[Measured]:
    """Alice twice within whole crews: once at once, once after a guardrail's refusal."""
    for number, turns in ((41, 1), (42, 2)):
        yield event(number, Operation.TASK, task_type="")
        for turn in range(turns):
            yield event(
                1000 * number + turn,
                Operation.INVOKE_AGENT,
                agent="Alice",
                duration_ms=100.0,
                attributes={"crew_task": "sum_up", "agent_name": "alice"},
            ).changed({"assignment_id": f"w{number}/t/1", "workflow_id": f"w{number}"})
        paid = event(2000 + number, Operation.CHAT, agent="Alice", cost_usd=Decimal("0.01"))
        yield paid.changed({"assignment_id": f"w{number}/t/1", "workflow_id": f"w{number}"})


@pytest.fixture(scope="module")
def dsn(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"chdb://{tmp_path_factory.mktemp('standings')}/data"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def analytics(dsn: str) -> AsyncIterator[Analytics]:
    async with connect(dsn) as found:
        await migrate(found, Place(found.database))
        recorder = Recorder(found, CODEC, SCHEMAS, Topics("metrics", "state", "dead"))
        values = [CODEC.encode(each) for each in [*events(), *events()]]
        batch = [Inbound("metrics", 0, n, b"", value, (), 0) for n, value in enumerate(values)]
        state = Inbound("state", 0, 0, b"", CODEC.encode(turned_down()), (), 0)
        assert not await recorder.record([batch, [state]])
        yield found


@pytest_asyncio.fixture(loop_scope="module")
async def redis(valkey: str) -> AsyncIterator[Redis]:
    client = connect_redis(valkey)
    yield client
    await client.delete(f"{PREFIX}:standings:shop")
    await client.aclose()


async def test_a_record_has_what_an_agent_is_to_be_held_to(analytics: Analytics) -> None:
    found = await library.run("standings", {"project": "shop"}, analytics)
    rows = [dict(zip(found.columns, row, strict=True)) for row in found.rows]

    def record(task_type: str, agent: str) -> tuple[Any, ...]:
        (row,) = [r for r in rows if (r["task_type"], r["agent"]) == (task_type, agent)]
        return tuple(row.values())[4:]

    assert [(row["task_type"], row["agent"]) for row in rows] == [
        ("", "bob"),
        ("offer", "carol"),
        ("quote", "alice"),
        ("quote", "bob"),
        ("sum_up", "alice"),
    ]
    #                           runs, succeeded, first tries, of them succeeded, quality, ms, USD
    assert record("quote", "alice") == (9, 9, 8, 8, 1.0, 1000.0, 0.0)
    assert record("quote", "bob") == (8, 4, 8, 4, 1.0, 3000.0, 0.02)
    assert record("offer", "carol") == (5, 5, 5, 5, 0.48, 1000.0, 0.0)
    assert record("sum_up", "alice") == (2, 2, 2, 1, 0.75, 150.0, 0.01)
    assert record("", "bob") == (2, 1, 2, 1, 1.0, 5.0, 0.0)


async def test_workers_choose_by_what_was_published(analytics: Analytics, redis: Redis) -> None:
    standings = Standings(redis, PREFIX)

    assert await publish(analytics, standings) == 5
    known = await standings.of("shop", "desk", "quote")

    assert sorted(known) == ["/bob", "quote/alice", "quote/bob"]
    quotes = [known["quote/bob"], known["quote/alice"]]
    chosen = [ordered(quotes, f"w{n}/t/1", 0.1).candidates[0].agent for n in range(1000)]
    assert 850 < chosen.count("alice") < 950
    assert sorted(await standings.of("shop", "desk", "")) == [
        "/bob",
        *("offer/carol", "quote/alice", "quote/bob", "sum_up/alice"),
    ]
    assert await standings.of("shop", "other", "quote") == {}
    assert 0 < await redis.ttl(f"{PREFIX}:standings:shop") <= 24 * 3600


async def test_people_see_who_stands_how_and_why(
    analytics: Analytics, redis: Redis, valkey: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(analytics, Standings(redis, PREFIX))
    monkeypatch.setenv("CREWSTREAM_REDIS_URL", valkey)
    monkeypatch.setenv("CREWSTREAM_PREFIX", PREFIX)

    def show(*options: str) -> str:
        # In a thread of its own: a verb has its own event loop.
        answer = CliRunner().invoke(app, ["agents", *options])
        assert answer.exit_code == 0, answer.output
        return answer.stdout

    told = json.loads(await asyncio.to_thread(show, "--task-type", "quote", "--json"))
    assert [each["agent"] for each in told["standings"]] == ["alice", "bob"]
    assert told["standings"][0]["success"] == 1.0
    assert told["published_at"]
    table = await asyncio.to_thread(show, "--project", "shop")
    assert "as of" in table
    assert [line.split()[2:4] for line in table.splitlines() if " quote " in line] == [
        ["quote", "alice"],
        ["quote", "bob"],
    ]
    assert "nothing is published" in await asyncio.to_thread(show, "--project", "none")


async def test_the_recorders_process_publishes_by_itself(
    analytics: Analytics, dsn: str, redis: Redis, valkey: str
) -> None:
    known = {"prefix": PREFIX, "clickhouse_dsn": dsn, "redis_url": valkey}
    work = asyncio.create_task(publish_always(Settings.model_validate(known)))

    for _ in range(200):
        if (await Standings(redis, PREFIX).show("shop"))[1]:
            break
        await asyncio.sleep(0.05)
    work.cancel()

    at, found = await Standings(redis, PREFIX).show()
    assert datetime.fromisoformat(at) >= NOW
    assert len(found) == len((await library.run("standings", {}, analytics)).rows)


async def test_what_was_read_is_used_for_a_while_and_without_redis_nothing_is_known(
    redis: Redis,
) -> None:
    now = [0.0]
    away = connect_redis("redis://127.0.0.1:9/0")
    standings, lost = Standings(redis, PREFIX, lambda: now[0]), Standings(away, PREFIX)

    assert await standings.of("shop", "desk", "quote") == {}
    await redis.hset(f"{PREFIX}:standings:shop", "desk/quote", json.dumps([ROW]))
    assert await standings.of("shop", "desk", "quote") == {}
    now[0] += 6
    assert (await standings.of("shop", "desk", "quote"))["quote/a"].score == unknown("a").score
    assert await lost.of("shop", "desk", "quote") == {}
    with pytest.raises(Unreachable):
        await lost.show()
    await away.aclose()


ROW = {
    "project_id": "shop",
    "crew": "desk",
    "task_type": "quote",
    "agent": "a",
    "runs": 0,
    "score": unknown("a").score,
    "confidence": 0.3,
}
