"""How long the commonest questions take on a month of five million events."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence

from bench.figures import Figure, at_most, quantile
from bench.stocked import stock

from crewstream.adapters.clickhouse import Analytics, connect
from crewstream.analytics import library
from crewstream.analytics.migrations import Place, migrate

EVENTS = 5_000_000
TIMES = 15
COMMON = (
    *("overview", "workflows", "projects", "agents", "trend_hour"),
    *("trend_day", "cost", "errors", "llm", "queue"),
)
"""The ten that have a goal; the others are there to know."""
OTHERS = ("slo", "forecast", "anomalies", "trend_slope", "capacity")


async def figures(events: int = EVENTS, times: int = TIMES) -> Sequence[Figure]:
    """One question at a time, with its defaults, as the library asks it."""
    with tempfile.TemporaryDirectory(prefix="crewstream-bench-") as folder:
        async with connect(f"chdb://{folder}/data") as analytics:
            await migrate(analytics, Place(analytics.database))
            await stock(analytics, events)
            found = [await _asked(analytics, name, times) for name in COMMON + OTHERS]
    return [figure for each in found for figure in each]


async def _asked(analytics: Analytics, name: str, times: int) -> Sequence[Figure]:
    """The first time is not counted: it reads what the others find in memory."""
    await library.run(name, {}, analytics)
    took_ms, cpu_s = [], time.process_time()
    for _ in range(times):
        began_s = time.perf_counter()
        await library.run(name, {}, analytics)
        took_ms.append((time.perf_counter() - began_s) * 1000)
    cpu_ms = (time.process_time() - cpu_s) / times * 1000
    goal = at_most(100) if name in COMMON else None
    return [
        Figure("questions", f"{name}, p50", quantile(took_ms, 0.5), "ms", goal),
        Figure("questions", f"{name}, p95", quantile(took_ms, 0.95), "ms"),
        Figure("questions", f"{name}: CPU", cpu_ms, "ms each"),
    ]
