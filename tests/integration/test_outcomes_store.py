"""Outcomes beside journals, and budgets, in a real Redis."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from crewstream.adapters.budgets import Budgets
from crewstream.adapters.redis import RedisOutcomes, connect
from crewstream.errors import Transient, Unreachable
from crewstream.ports import Journaled
from crewstream_agents.journal import layout

pytestmark = pytest.mark.integration

PREFIX = f"t{uuid.uuid4().hex[:8]}"
JOURNAL = layout.journal_key(PREFIX, "w/t/1")


@pytest_asyncio.fixture
async def redis(valkey: str) -> AsyncIterator[Redis]:
    client = connect(valkey)
    yield client
    for key in [key async for key in client.scan_iter(match=f"{PREFIX}:*")]:
        await client.delete(key)
    await client.aclose()


async def test_the_first_outcome_stays_and_its_journal_says_what_it_covers(redis: Redis) -> None:
    outcomes = RedisOutcomes(redis, PREFIX)
    await redis.hset(JOURNAL, mapping={"@epoch": 2})

    assert await outcomes.put("w/t/1", b"first", Journaled("w/t/1", 2, 5)) == b"first"
    assert await outcomes.put("w/t/1", b"second", Journaled("w/t/1", 2, 7)) == b"first"

    assert await outcomes.get("w/t/1") == b"first"
    assert await redis.hget(JOURNAL, "@reported") == b"5"
    assert await redis.pttl(JOURNAL) == -1


async def test_the_journal_of_a_task_that_succeeded_goes(redis: Redis) -> None:
    await redis.hset(JOURNAL, mapping={"@epoch": 1})

    await RedisOutcomes(redis, PREFIX).put("w/t/1", b"x", Journaled("w/t/1", 1, 5, succeeded=True))

    assert 0 < await redis.pttl(JOURNAL) <= layout.ENDED_TTL_MS


@pytest.mark.parametrize("epoch", ["3", None])
async def test_an_outcome_of_a_run_that_was_taken_over_is_refused(
    redis: Redis, epoch: str | None
) -> None:
    if epoch is not None:
        await redis.hset(JOURNAL, mapping={"@epoch": epoch})
    outcomes = RedisOutcomes(redis, PREFIX)

    with pytest.raises(Transient, match="another run owns the journal"):
        await outcomes.put("w/t/1", b"x", Journaled("w/t/1", 2, 5))
    assert await outcomes.get("w/t/1") is None


async def test_an_outcome_of_a_run_without_a_journal_is_kept(redis: Redis) -> None:
    outcomes = RedisOutcomes(redis, PREFIX)

    await outcomes.put("w/t/1", b"x")

    assert await outcomes.get("w/t/1") == b"x"
    assert not await redis.exists(JOURNAL)


async def test_a_limit_that_is_set_is_shown_beside_what_was_used(redis: Redis) -> None:
    budgets = Budgets(redis, PREFIX)
    account = "tenant:acme:2026-11"
    used = {"tokens_spent": 7, "tokens_lost": 3, "cost_spent": 1_500_000_000}
    await redis.hset(layout.account_key(PREFIX, account), mapping=used)  # type: ignore[arg-type]

    await budgets.set_limit(account, max_cost_usd=Decimal("2.5"))
    await budgets.set_limit("workflow:w", max_tokens=10)

    (balance,) = await budgets.show()
    assert (balance.account, balance.tokens_spent, balance.tokens_lost) == (account, 7, 3)
    assert (balance.cost_spent_usd, balance.max_cost_usd) == (Decimal("1.5"), Decimal("2.5"))
    assert balance.max_tokens is None
    (workflow,) = await budgets.show(["workflow:w"])
    assert workflow.max_tokens == 10


async def test_budgets_of_a_redis_that_is_away_are_unreachable() -> None:
    client = connect("redis://127.0.0.1:9/0")

    with pytest.raises(Unreachable):
        await Budgets(client, PREFIX).show(["workflow:w"])
    await client.aclose()
