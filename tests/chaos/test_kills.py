"""Nothing is lost and nothing counts twice while processes and the broker are killed and frozen."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from chaos.harness import Trouble, drill

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]


async def test_every_workflow_ends_exactly_once_under_kills(
    tmp_path: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """200 workflows of 3 chained tasks over two projects, two coordinators, two workers.

    Replay a run with CREWSTREAM_SEED=<the seed that it printed>.
    """
    seed = int(os.environ.get("CREWSTREAM_SEED") or random.randrange(2**31))
    with capsys.disabled():
        print(f"\nseed {seed}")
    counts, done = await drill(tmp_path, cache_dir, seed, 200, Trouble())
    with capsys.disabled():
        print(*done, counts, sep="\n")
    assert counts.ended == counts.asked == counts.completed
    assert not counts.ended_twice
    assert not counts.applied_twice
    assert not counts.results_different
    assert counts.results_repeated == 0
    assert counts.letters == 0
