"""Stock CrewAI in a process of its own: `crew.akickoff`, as its documentation has it.

Reads `{"runs": …, "at_once": …, "latency_s": …}` a line, answers `{"wall_s": …, "cpu_s": …}`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from bench.crew import HeadlineCrew, with_model


async def kick_off(runs: int, at_once: int, latency_s: float) -> dict[str, float]:
    """So many runs, `at_once` at a time, each on a copy: a Crew cannot run twice at once."""
    maker: Any = HeadlineCrew()
    template, room = maker.crew(), asyncio.Semaphore(at_once)

    async def one() -> None:
        async with room:
            crew = with_model(template.copy(), latency_s)
            await crew.akickoff(inputs={"topic": "lamps", "latency_s": latency_s})

    wall_s, cpu_s = time.perf_counter(), time.process_time()
    await asyncio.gather(*(one() for _ in range(runs)))
    return {"wall_s": time.perf_counter() - wall_s, "cpu_s": time.process_time() - cpu_s}


def main() -> None:
    """Answer until the input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what CrewAI prints is no answer
    for line in sys.stdin:
        print(json.dumps(asyncio.run(kick_off(**json.loads(line)))), file=answers, flush=True)


if __name__ == "__main__":
    main()
