"""The processes that crews are measured in: one runner of the product's pool, and stock CrewAI."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from crewstream_agents.pool import RunnerPool
from crewstream_agents.spec import CrewTask, JournalPlace, Status
from crewstream_agents.ticket import PoolLimits

ASSIGN = "bench.crew:assign"
SLOTS = 200
NEVER = 1_000_000
ENTRY_POINTS = "[crewstream.projects]\nbench = bench.crew\n"
METADATA = "Metadata-Version: 2.1\nName: crewbench\nVersion: 0\n"


@dataclass(frozen=True, slots=True)
class Work:
    """So many runs, at most `at_once` of them at a time, each model call taking `latency_s`.

    `way`: how stock starts a crew; a runner has one way only. `crew` and `journaled` are for the
    runner.
    """

    runs: int
    at_once: int
    latency_s: float = 0.0
    way: str = "akickoff"
    crew: str = "headline"
    journaled: bool = False


@dataclass(frozen=True, slots=True)
class Cost:
    """What some work took: seconds, and CPU seconds of the process that ran the crews."""

    work: Work
    wall_s: float
    cpu_s: float
    resident_mb: float = 0.0

    @property
    def per_s(self) -> float:
        return self.work.runs / self.wall_s

    @property
    def cpu_ms(self) -> float:
        return 1000 * self.cpu_s / self.work.runs

    @property
    def waiting_per_core(self) -> float:
        """Crews that wait for their model while one core works for them all and keeps up.

        Not how many are under way: a core that does not keep up would look the better for it.
        """
        return self.work.latency_s * self.work.runs / self.cpu_s


Side = Callable[[Work], Coroutine[None, None, Cost]]


@asynccontextmanager
async def runner(
    environ: Mapping[str, str], journal: JournalPlace | None = None
) -> AsyncIterator[Side]:
    """The product's own way: a pool of one runner."""
    limits = PoolLimits(max_runs=NEVER)
    pool = RunnerPool(1, SLOTS, environ, limits=limits, assign=ASSIGN, journal=journal)
    await pool.start()
    process, started = psutil.Process(pool.pids[0]), iter(range(1_000_000))

    async def run(work: Work) -> Cost:
        room = asyncio.Semaphore(work.at_once)

        async def one(number: int) -> None:
            async with room:
                outcome = await pool.run(_task(number, work))
            if outcome.status != Status.SUCCEEDED:
                raise RuntimeError(f"a crew failed: {outcome.failure}")

        wall_s, cpu_s = time.perf_counter(), _cpu_s(process)
        await asyncio.gather(*(one(next(started)) for _ in range(work.runs)))
        wall_s, cpu_s = time.perf_counter() - wall_s, _cpu_s(process) - cpu_s
        return Cost(work, wall_s, cpu_s, process.memory_info().rss / 1e6)

    try:
        yield run
    finally:
        await pool.close(0)


@asynccontextmanager
async def stock(environ: Mapping[str, str]) -> AsyncIterator[Side]:
    """CrewAI as it is."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.stock"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=environ,
    )
    asks, answers = process.stdin, process.stdout
    assert asks is not None  # noqa: S101 - both are pipes
    assert answers is not None  # noqa: S101

    async def kick_off(work: Work) -> Cost:
        asked = {name: getattr(work, name) for name in ("runs", "at_once", "latency_s", "way")}
        asks.write(json.dumps(asked).encode() + b"\n")
        answer = json.loads(await answers.readline())
        return Cost(work, answer["wall_s"], answer["cpu_s"])

    try:
        yield kick_off
    finally:
        asks.close()
        await process.wait()


@contextmanager
def environment() -> Iterator[Mapping[str, str]]:
    """An environment in which the benchmark's project is installed, and no model is set."""
    with tempfile.TemporaryDirectory(prefix="crewstream-bench-") as folder:
        installed = Path(folder, "crewbench-0.dist-info")
        installed.mkdir()
        (installed / "METADATA").write_text(METADATA)
        (installed / "entry_points.txt").write_text(ENTRY_POINTS)
        house = str(Path(__file__).parent.parent)
        kept = {name: value for name, value in os.environ.items() if name != "MODEL"}
        yield {
            **kept,
            "PYTHONPATH": os.pathsep.join([folder, house]),
            "CREWAI_STORAGE_DIR": str(Path(folder, "storage")),
            "CREWAI_DISABLE_TELEMETRY": "true",
            "CREWAI_DISABLE_TRACKING": "true",
            "OTEL_SDK_DISABLED": "true",
        }


def _task(number: int, work: Work) -> CrewTask:
    return CrewTask(
        assignment_id=f"bench-{number}/t/1",
        workflow_id=f"bench-{number}",
        task_id="t",
        attempt=1,
        tenant_id="bench",
        project_id="bench",
        crew=work.crew,
        task_type="",
        inputs={"topic": "lamps", "latency_s": work.latency_s},
        journal=f"bench-{number}" if work.journaled else "",
    )


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
