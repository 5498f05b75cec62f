"""`python -m bench`: all figures of one run, side by side with the floor and with stock CrewAI."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Collection
from pathlib import Path

from bench import crews, flood, profile, questions, reads, recorder, starts, workflows
from bench.figures import Figure, as_json, machine, markdown, show
from bench.stage import stage

PARTS = (
    *("floor", "workflows", "profile", "flood", "crews"),
    *("recorder", "questions", "reads", "starts"),
)
HERE = Path(__file__).parent


async def measure(parts: Collection[str], *, quick: bool) -> list[Figure]:
    """The figures of the parts, in the order of PARTS; never two at the same time."""
    found: list[Figure] = []
    on_stage = {"floor", "workflows"}.intersection(parts)
    if on_stage or "reads" in parts:
        async with stage() as running:
            if on_stage:
                _say("floor and workflows, turn by turn")
                plan = workflows.QUICK if quick else workflows.FULL
                found += await workflows.figures(running, plan, on_stage)
            if "reads" in parts:
                _say("reads")
                found += await reads.figures(running, *((300, 3) if quick else ()))
    if "flood" in parts:
        _say("a flood")
        found += await flood.figures(*((1000,) if quick else ()))
    if "profile" in parts:
        _say("profile")
        found += await profile.figures(*((300,) if quick else ()))
    if "crews" in parts:
        _say("crews, ours and stock turn by turn")
        found += await crews.figures(crews.QUICK if quick else crews.FULL)
    if "recorder" in parts:
        _say("recorder")
        found += await recorder.figures(*((2,) if quick else ()))
    if "questions" in parts:
        _say("questions")
        found += await questions.figures(*((500_000, 5) if quick else ()))
    if "starts" in parts:
        _say("starts")
        found += starts.figures(*((1,) if quick else ()))
    return sorted(found, key=lambda figure: PARTS.index(figure.part))


def main() -> None:
    """Measure, show, and keep what was measured beside this file unless it is only a part."""
    asked = _arguments()
    parts = asked.only or PARTS
    conditions = machine()
    os.environ.update(CREWAI_DISABLE_TELEMETRY="true", OTEL_SDK_DISABLED="true")
    found = asyncio.run(measure(parts, quick=asked.quick))
    show(found)
    if asked.quick or asked.only:
        print("a part, or a quick pass: RESULTS.md and results.json stay as they are")
        return
    (HERE / "results.json").write_text(as_json(found, conditions))
    (HERE / "RESULTS.md").write_text(markdown(found, conditions))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", type=_parts, help=f"some of {','.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="a tenth of it: does it run at all?")
    return parser.parse_args()


def _parts(text: str) -> tuple[str, ...]:
    parts = tuple(text.split(","))
    if unknown := set(parts).difference(PARTS):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: no part of {PARTS}")
    return parts


def _say(text: str) -> None:
    print(f"measuring {text} ...", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
