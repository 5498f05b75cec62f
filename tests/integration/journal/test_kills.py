"""Runners that are killed in mid-run: what they had finished is never asked for again."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from crewstream.adapters.budgets import Budgets
from crewstream.adapters.redis import connect
from crewstream.embedded.valkey import EmbeddedValkey
from crewstream_agents.journal import layout
from crewstream_agents.pool import RunnerPool
from crewstream_agents.spec import Account, CrewOutcome, CrewTask, JournalPlace, Operation, Status
from crewstream_agents.ticket import PoolLimits
from support.openai_stub import OpenAIStub

pytestmark = pytest.mark.integration

SAMPLES = Path(__file__).parents[2] / "samples"
RUNS = 8
CALLS = 4
"""Of the model in a run: the clerk asks for a tool and answers, and so does the writer."""
TOOLS = 2


@asynccontextmanager
async def pool_on(
    url: str, stub: OpenAIStub, prefix: str, *, executor: str = "lean", runners: int = 2
) -> AsyncIterator[RunnerPool]:
    environ = {
        **os.environ,
        "PYTHONPATH": str(SAMPLES),
        "SAMPLE_MODEL_URL": stub.base_url,
        "CREWSTREAM_EXECUTOR": executor,
    }
    pool = RunnerPool(
        runners,
        RUNS,
        environ,
        limits=PoolLimits(heartbeat_s=0.1, max_starts=10),
        assign="crewsample.served:assign",
        journal=JournalPlace(url, prefix),
    )
    await pool.start()
    try:
        yield pool
    finally:
        await pool.close(0)


def task(number: int, deadline_s: float = 120.0, attempt: int = 1) -> CrewTask:
    return CrewTask(
        assignment_id=f"w{number}/t/{attempt}",
        workflow_id=f"w{number}",
        task_id="t",
        attempt=attempt,
        tenant_id="acme",
        project_id="sample",
        crew="quotes",
        task_type="",
        description=f"Order {number}.",
        inputs={"sku": f"A-{number}"},
        deadline_s=deadline_s,
        journal=f"w{number}/t/1",
        accounts=[Account("tenant:acme:2026-11", max_cost_usd=Decimal(1000))],
    )


def journals(redis: Any, prefix: str) -> Mapping[tuple[bytes, bytes], bytes]:
    """Every record of every journal."""
    return {
        (key, field): value
        for key in redis.scan_iter(match=f"{layout.journal_key(prefix, '')}*")
        for field, value in redis.hgetall(key).items()
        if field.startswith(b"r:")
    }


def paid(outcome: CrewOutcome) -> int:
    return sum(
        c.operation is Operation.CHAT and bool(c.name) and not c.replayed for c in outcome.calls
    )


@pytest.mark.parametrize(("seed", "executor"), [(1, "lean"), (2, "stock")])
async def test_killed_runners_repeat_nothing_that_was_finished(
    valkey: str, seed: int, executor: str
) -> None:
    chance, prefix, redis = random.Random(seed), f"t{uuid.uuid4().hex[:8]}", Redis.from_url(valkey)
    seen: dict[tuple[bytes, bytes], bytes] = {}
    kills = 0
    with OpenAIStub(latency_s=0.15) as stub:
        async with pool_on(valkey, stub, prefix, executor=executor) as pool:
            runs = [asyncio.create_task(pool.run(task(n))) for n in range(RUNS)]
            while not all(run.done() for run in runs):
                await asyncio.sleep(chance.uniform(0.3, 0.9))
                if kills < 4 and pool.pids:
                    seen.update(journals(redis, prefix))
                    os.kill(chance.choice(pool.pids), signal.SIGKILL)
                    kills += 1
            outcomes = [await run for run in runs]
            late = await pool.run(task(0, deadline_s=0.0, attempt=2))
        asked = len(stub.requests)

    assert {outcome.status for outcome in outcomes} == {Status.SUCCEEDED}
    assert kills > 1
    after = journals(redis, prefix)
    assert {name: after[name] for name in seen} == seen
    assert len(after) == RUNS * (CALLS + TOOLS)
    # Each kill can cost every run at most the call that it had in flight.
    assert RUNS * CALLS <= asked <= RUNS * CALLS + kills * RUNS
    for outcome in outcomes:
        assert paid(outcome) == outcome.usage.llm_calls == CALLS
        assert (outcome.usage.input_tokens, outcome.usage.tool_calls) == (100 * CALLS, TOOLS)
        assert outcome.usage.cost_usd == CALLS * Decimal("0.000021")
    # An attempt that comes too late runs nothing; it tells of what no outcome was kept for.
    assert (late.status, paid(late), late.usage) == (Status.FAILED, CALLS, outcomes[0].usage)
    assert (late.epoch > outcomes[0].epoch > 0, late.covered) == (True, CALLS + TOOLS)
    client = connect(valkey)
    (balance,) = await Budgets(client, prefix).show()
    assert balance.tokens_spent == RUNS * CALLS * 110
    assert balance.cost_spent_usd == RUNS * CALLS * Decimal("0.000021")
    assert balance.tokens_reserved == 0
    await client.aclose()
    redis.close()


async def test_runs_wait_while_redis_is_away_and_pay_nothing_twice(tmp_path: Path) -> None:
    with OpenAIStub(latency_s=0.3) as stub, EmbeddedValkey(tmp_path) as server:
        async with pool_on(server.url, stub, "t") as pool:
            runs = [asyncio.create_task(pool.run(task(n))) for n in range(4)]
            while len(stub.requests) < 6:  # noqa: ASYNC110 - what is waited for is elsewhere
                await asyncio.sleep(0.02)
            server.stop()
            await asyncio.sleep(1.5)
            assert not any(run.done() for run in runs)
            server.start()
            outcomes = await asyncio.gather(*runs)
        assert len(stub.requests) == 4 * CALLS
    assert {outcome.status for outcome in outcomes} == {Status.SUCCEEDED}
    assert {outcome.usage.llm_calls for outcome in outcomes} == {CALLS}
