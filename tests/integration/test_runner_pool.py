"""Real runner processes: what is killed, hangs or does not stop costs nobody else's run."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
import pytest_asyncio

from crewstream_agents.pool import RunnerPool
from crewstream_agents.spec import CrewTask, Progress, Status
from crewstream_agents.ticket import PoolClosed, PoolLimits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

SUPPORT = Path(__file__).parents[1] / "samples"
ENVIRON = {**os.environ, "PYTHONPATH": str(SUPPORT)}
ASSIGN = "crewsample.model:assign"
TOLD: list[Progress] = []
BRISK = PoolLimits(heartbeat_s=0.1, hung_after_s=1.0, stop_grace_s=0.5, drain_s=1.0)


@asynccontextmanager
async def pool_of(runners: int, concurrency: int, limits: PoolLimits) -> AsyncIterator[RunnerPool]:
    pool = RunnerPool(
        runners, concurrency, ENVIRON, limits=limits, assign=ASSIGN, progress=TOLD.extend
    )
    await pool.start()
    try:
        yield pool
    finally:
        await pool.close(0)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool() -> AsyncIterator[RunnerPool]:
    """Two runners with four slots each, quick to judge."""
    async with pool_of(2, 4, BRISK) as started:
        yield started


def task(name: str, deadline_s: float = 60.0, **inputs: object) -> CrewTask:
    return CrewTask(
        assignment_id=name,
        workflow_id="w",
        task_id="t",
        attempt=1,
        tenant_id="acme",
        project_id="sample",
        crew="quotes",
        task_type="quote",
        inputs={"shop": "Corner", "currency": "EUR", **inputs},
        deadline_s=deadline_s,
    )


async def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - what is waited for is another process's
            await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has reaped does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


async def under_way(pool: RunnerPool, slots: int) -> None:
    await until(lambda: pool.free <= 8 - slots)


async def test_a_run_brings_an_outcome(pool: RunnerPool) -> None:
    outcome = await pool.run(task("plain", sku="A-17"))

    assert outcome.status is Status.SUCCEEDED
    assert (outcome.output, outcome.agent, outcome.model) == (
        "A-17=120",
        "Clerk for Corner",
        "scripted/model",
    )
    assert (outcome.usage.llm_calls, outcome.usage.tool_calls) == (2, 1)


async def test_a_run_tells_where_it_is(pool: RunnerPool) -> None:
    run = asyncio.create_task(pool.run(task("told", sku="A-17", latency_s=1.2)))
    await until(lambda: any(each.input_tokens for each in TOLD))
    await run

    told = [each for each in TOLD if each.assignment_id == "told"]
    # While the model thinks there is nothing new, and what is the same is not told again at once.
    assert len(told) == len({replace(each, at=told[0].at) for each in told})
    first, last = told[0], next(each for each in told if each.input_tokens)
    assert (first.task, first.agent, first.step) == ("quote", "Clerk for Corner", 0)
    assert (last.model, last.step, last.output_tokens) == ("scripted/model", 1, 5)


async def test_a_tool_that_is_on_no_list_is_not_called_in_a_runner(pool: RunnerPool) -> None:
    outcome = await pool.run(replace(task("listed", sku="A-17"), tools=[["nothing"]]))

    assert outcome.status is Status.SUCCEEDED
    tools = [(call.tool, call.error_type) for call in outcome.calls if call.tool]
    assert tools == [("price_lookup", "tool.not_allowed")]


async def test_runs_of_a_killed_runner_are_started_again(pool: RunnerPool) -> None:
    before = pool.pids
    runs = [asyncio.create_task(pool.run(task(f"k{i}", latency_s=0.8))) for i in range(8)]
    await under_way(pool, 8)

    os.kill(before[0], signal.SIGKILL)
    outcomes = await asyncio.gather(*runs)

    assert {outcome.status for outcome in outcomes} == {Status.SUCCEEDED}
    await until(lambda: len(pool.pids) == 2 and before[0] not in pool.pids)


async def test_cancelling_ends_a_run_within_a_second(pool: RunnerPool) -> None:
    run = asyncio.create_task(pool.run(task("c", latency_s=60)))
    await under_way(pool, 1)

    assert pool.cancel("c")
    outcome = await asyncio.wait_for(run, 1.0)

    assert outcome.status is Status.CANCELLED
    assert outcome.failure is not None
    assert outcome.failure.error_type == "task.cancelled"
    assert [call.error_type for call in outcome.calls] == ["task.cancelled"]


async def test_cancelling_an_unknown_run_says_so(pool: RunnerPool) -> None:
    assert not pool.cancel("nobody")


async def test_a_deadline_frees_the_slot(pool: RunnerPool) -> None:
    outcome = await asyncio.wait_for(pool.run(task("d", deadline_s=0.3, latency_s=60)), 2.0)

    assert outcome.failure is not None
    assert outcome.failure.error_type == "task.timeout"
    assert outcome.failure.retryable
    assert pool.free == 8


async def test_a_run_waits_for_a_free_slot_and_can_be_cancelled_there(pool: RunnerPool) -> None:
    runs = [asyncio.create_task(pool.run(task(f"w{i}", latency_s=1.0))) for i in range(8)]
    await under_way(pool, 8)
    waits = asyncio.create_task(pool.run(task("waits")))
    leaves = asyncio.create_task(pool.run(task("leaves")))
    await asyncio.sleep(0.1)

    assert pool.cancel("leaves")
    assert (await leaves).status is Status.CANCELLED
    assert not waits.done()
    assert (await waits).status is Status.SUCCEEDED
    await asyncio.gather(*runs)


async def test_who_cancels_the_waiting_cancels_the_run(pool: RunnerPool) -> None:
    run = asyncio.create_task(pool.run(task("mine", latency_s=60)))
    await under_way(pool, 1)

    run.cancel()

    with pytest.raises(asyncio.CancelledError):
        await run
    assert pool.free == 8
    assert (await pool.run(task("mine"))).status is Status.SUCCEEDED


async def test_large_tasks_and_results_pass_both_ways_at_once(pool: RunnerPool) -> None:
    text = "x" * 3_000_000

    outcomes = await asyncio.gather(*(pool.run(task(f"l{i}", say=text)) for i in range(8)))

    assert [len(outcome.output) for outcome in outcomes] == [len(text)] * 8


async def test_a_runner_whose_threads_do_not_stop_is_replaced(pool: RunnerPool) -> None:
    before = set(pool.pids)
    other = asyncio.create_task(pool.run(task("bystander", latency_s=1.5)))
    run = asyncio.create_task(pool.run(task("s", nap_s=60)))
    await under_way(pool, 2)
    await asyncio.sleep(0.3)

    pool.cancel("s")

    assert (await asyncio.wait_for(run, 1.0)).status is Status.CANCELLED
    await until(lambda: len(pool.pids) == 2 and set(pool.pids) != before)
    assert (await other).status is Status.SUCCEEDED
    await until(lambda: sum(map(alive, before)) <= 1)


async def test_a_hung_runner_is_killed_and_its_runs_move(pool: RunnerPool) -> None:
    blocker = asyncio.create_task(pool.run(task("b", block_s=60)))
    await under_way(pool, 1)
    others = [asyncio.create_task(pool.run(task(f"m{i}", latency_s=1.5))) for i in range(6)]

    outcomes = await asyncio.gather(*others)

    assert {outcome.status for outcome in outcomes} == {Status.SUCCEEDED}
    assert (await blocker).failure.error_type == "runner.died"  # type: ignore[union-attr]


async def test_a_run_that_kills_its_runner_in_every_try_fails(pool: RunnerPool) -> None:
    outcome = await pool.run(task("x", crash=True))

    assert outcome.status is Status.FAILED
    assert outcome.failure is not None
    assert (outcome.failure.error_type, outcome.failure.retryable) == ("runner.died", True)
    await until(lambda: len(pool.pids) == 2)


async def test_a_dead_zygote_is_replaced_with_its_runners(pool: RunnerPool) -> None:
    run = asyncio.create_task(pool.run(task("z", latency_s=0.5)))
    await under_way(pool, 1)

    os.kill(psutil.Process(pool.pids[0]).ppid(), signal.SIGKILL)

    assert (await run).status is Status.SUCCEEDED


async def test_runners_are_recycled_and_closing_hands_runs_back() -> None:
    limits = PoolLimits(heartbeat_s=0.1, max_runs=3)
    async with pool_of(1, 2, limits) as pool:
        seen: set[int] = set()
        for i in range(10):
            assert (await pool.run(task(f"r{i}"))).status is Status.SUCCEEDED
            seen.update(pool.pids)
            await asyncio.sleep(0.1)
        await until(lambda: bool(pool.pids))
        # Long enough to be seen under way on a busy machine, short enough for the grace time.
        quick = asyncio.create_task(pool.run(task("quick", latency_s=2.0)))
        slow = asyncio.create_task(pool.run(task("slow", latency_s=60)))
        await until(lambda: pool.free == 0)
        await pool.close(5.0)
        with pytest.raises(PoolClosed):
            await slow
        with pytest.raises(PoolClosed):
            await pool.run(task("late"))

    assert len(seen) >= 3
    assert (await quick).status is Status.SUCCEEDED
    await until(lambda: not any(map(alive, seen)))


WORKER = """
import asyncio, os, sys
from crewstream_agents.pool import RunnerPool
async def main():
    pool = RunnerPool(2, 2, dict(os.environ), assign="crewsample.model:assign")
    await pool.start()
    print(*pool.pids, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_runners_die_with_a_killed_worker() -> None:
    worker = subprocess.Popen(  # noqa: ASYNC220 - it is this process that is killed
        [sys.executable, "-c", WORKER], env=ENVIRON, stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    runners = [int(pid) for pid in worker.stdout.readline().split()]
    zygote = psutil.Process(runners[0]).ppid()

    worker.kill()
    worker.wait()
    worker.stdout.close()

    assert len(runners) == 2
    await until(lambda: not any(map(alive, [zygote, *runners])), 5.0)
