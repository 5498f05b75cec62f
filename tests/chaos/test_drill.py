"""The rows of the failure contract, on real servers that are really killed.

Replay a drill with CREWSTREAM_SEED=<the seed that it printed>. The cases of one kind of fault each
take a minute or two; they run when CREWSTREAM_SLOW is set, or by `crewstream drill --only <kind>`.
"""

from __future__ import annotations

import os
import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from crewstream.drill.plan import Kind
from crewstream.drill.report import Report
from crewstream.drill.session import Options, drill
from support.lanes import SLOW

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

Drill = Callable[..., Awaitable[Report]]


@pytest.fixture
def drilled(tmp_path: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]) -> Drill:
    """Runs a drill and tells what it does."""

    def say(line: str) -> None:
        with capsys.disabled():
            print(line)

    async def run(kinds: Sequence[Kind], *, workflows: int, kills: int, brokers: int = 1) -> Report:
        seed = int(os.environ.get("CREWSTREAM_SEED") or random.randrange(2**31))
        say(f"\nseed {seed}")
        options = Options(
            seed=seed,
            workflows=workflows,
            kills=kills,
            kinds=kinds,
            brokers=brokers,
            latency_ms=300,
            folder=tmp_path,
            cache_dir=cache_dir,
        )
        return await drill(options, say)

    return run


def wrong(report: Report) -> list[tuple[str, int, int | None, Sequence[str]]]:
    """What is not as it has to be, with names."""
    return [(e.about, e.figure, e.wanted, e.names) for e in report.lines() if not e.good]


async def test_nothing_is_lost_duplicated_or_paid_twice_while_everything_is_killed(
    drilled: Drill,
) -> None:
    report = await drilled(list(Kind), workflows=60, kills=len(Kind))
    assert wrong(report) == []
    assert report.faults
    assert report.calls.made >= report.calls.distinct > report.asked


@SLOW
@pytest.mark.parametrize("kind", list(Kind))
async def test_one_kind_of_fault_again_and_again(drilled: Drill, kind: Kind) -> None:
    report = await drilled([kind], workflows=24, kills=4)
    assert wrong(report) == []


@SLOW
async def test_one_of_three_brokers_may_go(drilled: Drill) -> None:
    report = await drilled([Kind.BROKER, Kind.NETWORK], workflows=24, kills=6, brokers=3)
    assert wrong(report) == []
