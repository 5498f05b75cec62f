"""CrewAI crews in one runner process of the product, beside stock CrewAI in one process."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Figure, at_least, at_most, median, quantile
from bench.sides import SLOTS, Cost, Side, Work, environment, runner, stock

from crewstream.embedded.valkey import EmbeddedValkey
from crewstream_agents.spec import JournalPlace

LATENCY_S = 0.5
WAYS = ("akickoff", "kickoff", "kickoff_async")
PULSE_S = 0.002
RUNS_A_SIZE = 500
FASTER = "0 ms, 16 at once"
CARRIED = "0.5 s, 50 at once"
RECORDS, JOURNALED = "5 calls, 0 ms, 16 at once", "5 calls in a journal, 0 ms, 16 at once"


@dataclass(frozen=True, slots=True)
class Plan:
    """What each side does in a round; stock is slower, so it gets fewer runs.

    `sizes`: after how many times 500 runs the runner's memory is looked at.
    """

    rounds: int
    ours: Mapping[str, Work]
    stock: Mapping[str, Work]
    sizes: Sequence[int]


def _slow(runs: Mapping[int, int], way: str = WAYS[0]) -> dict[str, Work]:
    """Runs by how many are under way at once, on a model that answers after 0.5 s."""
    return {f"0.5 s, {n} at once": Work(runs[n], n, LATENCY_S, way) for n in runs}


def _priced(runs: int) -> dict[str, Work]:
    """A crew of three model calls and two tool calls, without a journal and with one."""
    plain, kept = Work(runs, 16, crew="priced"), Work(runs, 16, crew="priced", journaled=True)
    return {RECORDS: plain, JOURNALED: kept}


def _of_stock(one: int, slow: Mapping[int, int]) -> dict[str, Work]:
    # One after the other is its best case at 0 ms: at once, runs wait for one file lock.
    alone = {f"{way}, 0 ms, 1 at once": Work(one, 1, way=way) for way in WAYS}
    many = {f"{way}, {name}": work for way in WAYS for name, work in _slow(slow, way).items()}
    return {**alone, f"{WAYS[0]}, {FASTER}": Work(one, 16), **many}


FULL = Plan(
    1,
    {
        "0 ms, 1 at once": Work(300, 1),
        FASTER: Work(600, 16),
        **_slow({10: 100, 50: 500, 200: 1000}),
        **_priced(300),
    },
    _of_stock(40, {10: 30, 50: 100, 200: 200}),
    (1, 2, 4, 6, 8, 10),
)
QUICK = Plan(
    1,
    {
        "0 ms, 1 at once": Work(50, 1),
        FASTER: Work(200, 16),
        **_slow({50: 150, 200: 200}),
        **_priced(100),
    },
    _of_stock(20, {50: 50}),
    (1, 2),
)


async def figures(plan: Plan) -> Sequence[Figure]:
    """Both sides, turn by turn. Raises RuntimeError when a run does not succeed."""
    ours: dict[str, list[Cost]] = {name: [] for name in plan.ours}
    stocks: dict[str, list[Cost]] = {name: [] for name in plan.stock}
    late_ms: list[float] = []
    with environment() as environ, _journal() as journal:
        async with runner(environ, journal) as run, stock(environ) as kick_off:
            await run(Work(20, 4))
            await run(Work(20, 4, crew="priced", journaled=True))
            await kick_off(Work(20, 4))
            for _ in range(plan.rounds):
                for name, work in plan.ours.items():
                    async with _pulse(late_ms):
                        ours[name].append(await run(work))
                for name, work in plan.stock.items():
                    stocks[name].append(await kick_off(work))
        async with runner(environ) as run:
            sizes = [figure async for figure in _sizes(run, plan.sizes)]
    return [*_figures(ours, stocks), *_stalls(late_ms), *sizes]


@contextmanager
def _journal() -> Iterator[JournalPlace]:
    with (
        tempfile.TemporaryDirectory(prefix="crewstream-bench-") as folder,
        EmbeddedValkey(Path(folder)) as valkey,
    ):
        yield JournalPlace(valkey.url, "bench")


@asynccontextmanager
async def _pulse(late_ms: list[float]) -> AsyncIterator[None]:
    """How late the worker's loop, which is this one, turns while runners work."""

    async def beat() -> None:
        while True:
            due_s = time.perf_counter() + PULSE_S
            await asyncio.sleep(PULSE_S)
            late_ms.append(1000 * (time.perf_counter() - due_s))

    pulse = asyncio.create_task(beat())
    try:
        yield
    finally:
        pulse.cancel()


async def _sizes(run: Side, sizes: Sequence[int]) -> AsyncIterator[Figure]:
    """The memory of a runner that is never replaced."""
    done, found = 0, []
    for size in sizes:
        cost = await run(Work((size - done) * RUNS_A_SIZE, 16))
        done = size
        found.append(cost.resident_mb)
        what = f"runner: memory after {size * RUNS_A_SIZE:,} runs"
        yield Figure("crews", what, cost.resident_mb, "MB")
    settled = found[len(found) // 2 - 1]
    grown = 100 * (found[-1] - settled) / settled
    yield Figure("crews", "runner: memory grown in the second half", grown, "%", at_most(2))


def _figures(
    ours: Mapping[str, Sequence[Cost]], stocks: Mapping[str, Sequence[Cost]]
) -> Iterator[Figure]:
    for side, costs in (("runner", ours), ("stock", stocks)):
        for name, rounds in costs.items():
            what = f"{side}, {name}"
            yield Figure("crews", what, _per_s(rounds), "runs/s")
            yield Figure("crews", f"{what}: CPU", _cpu_ms(rounds), "ms a run")
    quick = [_per_s(stocks[name]) for name in stocks if f"{WAYS[0]}, 0 ms" in name]
    faster = _per_s(ours[FASTER]) / max(quick)
    yield Figure("crews", "runner / the faster akickoff, 0 ms", faster, "times", at_least(4))
    for way in WAYS:
        ratio = _per_s(ours[CARRIED]) / _per_s(stocks[f"{way}, {CARRIED}"])
        yield Figure("crews", f"runner / {way}, {CARRIED}", ratio, "times")
    journal_ms = _cpu_ms(ours[JOURNALED]) - _cpu_ms(ours[RECORDS])
    yield Figure("crews", "a journal of 5 records: CPU", journal_ms, "ms a run", at_most(8))
    for side, costs, name, goal in (
        ("runner", ours, f"0.5 s, {SLOTS} at once", at_least(100)),
        ("stock akickoff", stocks, f"{WAYS[0]}, {CARRIED}", None),
    ):
        carried = median(c.waiting_per_core for c in costs[name])
        yield Figure("crews", f"{side}: in flight a core, 0.5 s", carried, "crews", goal)


def _cpu_ms(rounds: Sequence[Cost]) -> float:
    return median(c.cpu_ms for c in rounds)


def _per_s(rounds: Sequence[Cost]) -> float:
    return median(c.per_s for c in rounds)


def _stalls(late_ms: Sequence[float]) -> Iterator[Figure]:
    for name, value, goal in (
        ("p50", quantile(late_ms, 0.5), None),
        ("p99", quantile(late_ms, 0.99), at_most(10)),
        ("longest", max(late_ms), None),
    ):
        yield Figure("crews", f"worker's loop, late by: {name}", value, "ms", goal)
