"""CrewAI crews in one runner process of the product, beside stock CrewAI in one process."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from bench.figures import Figure, at_least, median

from crewstream_agents.pool import RunnerPool
from crewstream_agents.spec import CrewTask, Status

ASSIGN = "bench.crew:assign"
AT_ONCE = 50
LATENCY_S = 0.5
ENTRY_POINTS = "[crewstream.projects]\nbench = bench.crew\n"
METADATA = "Metadata-Version: 2.1\nName: crewbench\nVersion: 0\n"


@dataclass(frozen=True, slots=True)
class Work:
    """So many runs, at most `at_once` of them at a time, each model call taking `latency_s`."""

    runs: int
    at_once: int
    latency_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What some work took: seconds, and CPU seconds of the process that ran the crews."""

    work: Work
    wall_s: float
    cpu_s: float

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


@dataclass(frozen=True, slots=True)
class Plan:
    """What each side does in a round; stock is slower, so it gets fewer runs."""

    rounds: int
    ours: Mapping[str, Work]
    stock: Mapping[str, Work]


FULL = Plan(
    2,
    {"0 ms": Work(600, 16), "0.5 s": Work(400, AT_ONCE, LATENCY_S)},
    # One after the other is its best case at 0 ms: at once, runs wait for one file lock.
    {
        "0 ms": Work(100, 1),
        "0 ms at once": Work(100, 16),
        "0.5 s": Work(100, AT_ONCE, LATENCY_S),
    },
)
QUICK = Plan(
    1,
    {"0 ms": Work(200, 16), "0.5 s": Work(150, AT_ONCE, LATENCY_S)},
    {"0 ms": Work(30, 1), "0.5 s": Work(50, AT_ONCE, LATENCY_S)},
)


async def figures(plan: Plan) -> Sequence[Figure]:
    """Both sides, turn by turn. Raises RuntimeError when a run does not succeed."""
    ours: dict[str, list[Cost]] = {name: [] for name in plan.ours}
    stock: dict[str, list[Cost]] = {name: [] for name in plan.stock}
    with _environment() as environ:
        async with _runner(environ) as run, _stock(environ) as kick_off:
            for side in (run, kick_off):
                await side(Work(20, 4))
            for _ in range(plan.rounds):
                for name, work in plan.ours.items():
                    ours[name].append(await run(work))
                for name, work in plan.stock.items():
                    stock[name].append(await kick_off(work))
    return list(_figures(ours, stock))


@asynccontextmanager
async def _runner(environ: Mapping[str, str]) -> AsyncIterator[Side]:
    """The product's own way: a pool of one runner."""
    pool = RunnerPool(1, AT_ONCE, environ, assign=ASSIGN)
    await pool.start()
    process, started = psutil.Process(pool.pids[0]), iter(range(1_000_000))

    async def run(work: Work) -> Cost:
        room = asyncio.Semaphore(work.at_once)

        async def one(number: int) -> None:
            async with room:
                outcome = await pool.run(_task(number, work.latency_s))
            if outcome.status != Status.SUCCEEDED:
                raise RuntimeError(f"a crew failed: {outcome.failure}")

        wall_s, cpu_s = time.perf_counter(), _cpu_s(process)
        await asyncio.gather(*(one(next(started)) for _ in range(work.runs)))
        return Cost(work, time.perf_counter() - wall_s, _cpu_s(process) - cpu_s)

    try:
        yield run
    finally:
        await pool.close(0)


@asynccontextmanager
async def _stock(environ: Mapping[str, str]) -> AsyncIterator[Side]:
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
        asked = {"runs": work.runs, "at_once": work.at_once, "latency_s": work.latency_s}
        asks.write(json.dumps(asked).encode() + b"\n")
        answer = json.loads(await answers.readline())
        return Cost(work, answer["wall_s"], answer["cpu_s"])

    try:
        yield kick_off
    finally:
        asks.close()
        await process.wait()


@contextmanager
def _environment() -> Iterator[Mapping[str, str]]:
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


def _task(number: int, latency_s: float) -> CrewTask:
    return CrewTask(
        assignment_id=f"bench-{number}/t/1",
        workflow_id=f"bench-{number}",
        task_id="t",
        attempt=1,
        tenant_id="bench",
        project_id="bench",
        crew="headline",
        task_type="",
        inputs={"topic": "lamps", "latency_s": latency_s},
    )


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _figures(
    ours: Mapping[str, Sequence[Cost]], stock: Mapping[str, Sequence[Cost]]
) -> Iterator[Figure]:
    for side, costs in (("runner", ours), ("stock akickoff", stock)):
        for name, rounds in costs.items():
            at_once = f"{name}, {rounds[0].work.at_once} at once"
            yield Figure("crews", f"{side}, {at_once}", median(c.per_s for c in rounds), "runs/s")
            yield Figure(
                "crews", f"{side}, {at_once}: CPU", median(c.cpu_ms for c in rounds), "ms a run"
            )
    fastest = max(median(c.per_s for c in stock[name]) for name in stock if "0 ms" in name)
    faster = median(c.per_s for c in ours["0 ms"]) / fastest
    yield Figure("crews", "runner / the faster stock, 0 ms", faster, "times", at_least(4))
    slow = median(c.per_s for c in ours["0.5 s"]) / median(c.per_s for c in stock["0.5 s"])
    yield Figure("crews", "runner / stock, 0.5 s", slow, "times")
    for side, costs, goal in (("runner", ours, at_least(100)), ("stock", stock, None)):
        carried = median(c.waiting_per_core for c in costs["0.5 s"])
        yield Figure("crews", f"{side}: in flight a core, 0.5 s", carried, "crews", goal)
