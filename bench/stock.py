"""Stock CrewAI in a process of its own, started in each way that its documentation has.

Reads what `sides.Work` holds, a line of JSON each, answers `{"wall_s": …, "cpu_s": …}`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from bench.crew import HeadlineCrew, with_model


async def kick_off(runs: int, at_once: int, latency_s: float, way: str) -> dict[str, float]:
    """So many runs, `at_once` at a time, each on a copy: a Crew cannot run twice at once."""
    maker: Any = HeadlineCrew()
    template, room = maker.crew(), asyncio.Semaphore(at_once)
    inputs = {"topic": "lamps", "latency_s": latency_s}

    async def one(threads: ThreadPoolExecutor) -> None:
        async with room:
            await _started(with_model(template.copy(), latency_s), inputs, way, threads)

    with ThreadPoolExecutor(at_once) as threads:
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        await asyncio.gather(*(one(threads) for _ in range(runs)))
        return {"wall_s": time.perf_counter() - wall_s, "cpu_s": time.process_time() - cpu_s}


def _started(
    crew: Any, inputs: dict[str, Any], way: str, threads: ThreadPoolExecutor
) -> Coroutine[Any, Any, Any] | asyncio.Future[Any]:
    """`kickoff` gets threads of our own, as many as runs: the best that can be done with it."""
    if way == "kickoff":
        work = partial(crew.kickoff, inputs=inputs)
        return asyncio.get_running_loop().run_in_executor(threads, work)
    started: Coroutine[Any, Any, Any] = getattr(crew, way)(inputs=inputs)
    return started


def main() -> None:
    """Answer until the input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what CrewAI prints is no answer
    for line in sys.stdin:
        print(json.dumps(asyncio.run(kick_off(**json.loads(line)))), file=answers, flush=True)


if __name__ == "__main__":
    main()
