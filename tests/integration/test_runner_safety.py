"""Real runners: what a run leaves, reads and writes is its own; there are as many as needed."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import crewkeeper
import psutil
import pytest
import pytest_asyncio
from crewkeeper import snoop

from crewstream_agents.confinement import supported
from crewstream_agents.environment import share_out
from crewstream_agents.fleet import Households
from crewstream_agents.pool import RunnerPool
from crewstream_agents.project import COPY, PROCESS
from crewstream_agents.spawner import FOLDER_PREFIX
from crewstream_agents.spec import CrewOutcome, CrewTask, RunLimits, Status
from crewstream_agents.ticket import PoolLimits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

SAMPLES = Path(__file__).parents[1] / "samples"
PROJECTS = {"keeper": crewkeeper.PROJECT, "snoop": snoop.PROJECT}
SECRETS = {"KEEPER_SECRET": "of keeper", "SNOOP_SECRET": "of snoop", "OTHER": "of nobody"}
BRISK = PoolLimits(
    heartbeat_s=0.1, hung_after_s=1.0, stop_grace_s=0.5, idle_s=0.3, max_file_bytes=1_000_000
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunnerPool]:
    """One runner with two slots, confined, for two projects with a secret each."""
    shared = share_out(
        {**os.environ, **SECRETS, "PYTHONPATH": str(SAMPLES)},
        {name: project.environment for name, project in PROJECTS.items()},
    )
    started = RunnerPool(
        1,
        2,
        shared.common,
        limits=BRISK,
        assign="crewkeeper.crew:assign",
        projects=PROJECTS,
        households=Households(shared.own, ()),
        most=3,
        memory=str(tmp_path_factory.mktemp("memories")),
    )
    await started.start()
    try:
        yield started
    finally:
        await started.close(0)


def task(name: str, *calls: tuple[str, dict[str, Any]], project: str = "keeper") -> CrewTask:
    return CrewTask(
        assignment_id=name,
        workflow_id="w",
        task_id="t",
        attempt=1,
        tenant_id="acme",
        project_id=project,
        crew="keep",
        task_type="keep",
        inputs={"what": "w", "calls": [list(call) for call in calls]},
        deadline_s=60.0,
    )


async def run(pool: RunnerPool, asked: CrewTask) -> CrewOutcome:
    outcome = await pool.run(asked)
    assert outcome.status is Status.SUCCEEDED, outcome.failure
    return outcome


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20.0):
        while not condition():  # noqa: ASYNC110 - what is waited for is another process's
            await asyncio.sleep(0.02)


def spinning() -> list[int]:
    """The runners, by process id, whose tool has said that it begins to spin."""
    folders = Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}{os.getpid()}-*/*/work/spinning")
    return [int(found.parents[1].name) for found in folders]


async def test_a_process_of_its_own_shares_nothing_not_even_its_module(pool: RunnerPool) -> None:
    note = ("note", {"word": "secret of acme"})
    found: dict[Any, Any] = {}
    for mode in (PROCESS, PROCESS, COPY, COPY):
        asked = replace(task(f"n-{mode}-{len(found)}", note), isolation=mode)
        found.setdefault(mode, []).append(json.loads((await run(pool, asked)).output))

    nothing = {"uses": 1, "tool": [], "crew": [], "module": []}
    assert found[PROCESS] == [nothing, nothing]
    assert found[COPY][1]["module"] == ["secret of acme"]


async def test_a_process_of_its_own_ends_with_its_run_and_so_does_its_folder(
    pool: RunnerPool,
) -> None:
    asked = replace(task("p", ("write", {"path": "mine.txt"})), isolation=PROCESS)
    zygote = psutil.Process(pool.pids[0]).parent()
    assert zygote is not None

    outcome = await run(pool, asked)

    place = Path(outcome.output)
    assert sorted(file.path for file in outcome.files) == ["kept/w.txt", "mine.txt"]
    await until(lambda: not place.parent.exists())
    await until(lambda: {child.pid for child in zygote.children()} == set(pool.pids))


async def test_a_run_that_waits_for_a_process_of_its_own_can_be_cancelled(pool: RunnerPool) -> None:
    slow = replace(task("x"), isolation=PROCESS, inputs={"what": "w", "latency_s": 60})
    runs = [asyncio.create_task(pool.run(replace(slow, assignment_id=f"x{i}"))) for i in range(4)]
    await until(lambda: pool.state.busy == 3)

    cancelled = [pool.cancel(f"x{i}") for i in range(4)]

    assert all(cancelled)
    assert {(await run).status for run in runs} == {Status.CANCELLED}


async def test_each_project_reads_its_own_secret_and_no_other(pool: RunnerPool) -> None:
    reads = [("variable", {"name": name}) for name in SECRETS]

    outcomes = await asyncio.gather(
        *(run(pool, task(f"e-{name}", *reads, project=name)) for name in PROJECTS)
    )

    values = [[json.loads(line) for line in one.output.splitlines()] for one in outcomes]
    assert [[one["value"] for one in read] for read in values] == [
        ["of keeper", None, None],
        [None, "of snoop", None],
    ]
    # Nor does the environment that it was started with hold one, or that of its parent.
    assert {tuple(one["in /proc"]) for read in values for one in read} == {()}
    # The one that was there has no secret; what was started beside it goes when it is idle.
    await until(lambda: len(pool.pids) == 1)


@pytest.mark.skipif(not supported(), reason="this kernel has no Landlock")
async def test_no_file_is_written_outside_of_the_folder(pool: RunnerPool, tmp_path: Path) -> None:
    inside = await run(pool, task("in", ("write", {"path": "x.txt"})))
    outside = await run(pool, task("out", ("write", {"path": str(tmp_path / "x.txt")})))

    assert Path(inside.output).name == "x.txt"
    assert "Permission denied" in outside.output
    assert not any(tmp_path.iterdir())  # noqa: ASYNC240 - nobody waits for this loop


async def test_runners_are_added_and_removed_while_runs_go_on(pool: RunnerPool) -> None:
    slow = {"what": "w", "latency_s": 1.5}
    runs = [asyncio.create_task(pool.run(replace(task(f"r{i}"), inputs=slow))) for i in range(6)]
    await until(lambda: pool.state.waiting == 4)

    pool.resize(3)
    await until(lambda: pool.state.busy == 6)
    assert (pool.state.slots, pool.state.waiting) == (6, 0)
    assert pool.state.rss_bytes > 0
    pool.resize(1)

    assert {(await run).status for run in runs} == {Status.SUCCEEDED}
    await until(lambda: pool.state.runners == 1)


@pytest.mark.parametrize("isolation", [COPY, PROCESS])
async def test_a_run_that_is_busy_in_c_is_let_go_of_and_its_runner_killed(
    pool: RunnerPool, isolation: str
) -> None:
    busy = replace(task(f"spin-{isolation}", ("spin", {})), isolation=isolation)
    run = asyncio.create_task(pool.run(busy))
    await until(lambda: bool(spinning()))
    runner = psutil.Process(spinning()[0])

    assert pool.cancel(busy.assignment_id)

    assert (await asyncio.wait_for(run, 20.0)).status is Status.CANCELLED
    await until(lambda: not runner.is_running() and len(pool.pids) == 1)
    await until(lambda: not spinning())


async def test_a_limit_reaches_the_runner(pool: RunnerPool) -> None:
    asked = replace(
        task("l", *[("variable", {"name": "A"})] * 3), limits=RunLimits(max_llm_calls=2)
    )

    outcome = await pool.run(asked)

    assert outcome.failure is not None
    assert outcome.failure.error_type == "limit.exceeded"
