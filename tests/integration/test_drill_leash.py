"""Nothing that a drill has started outlives it, however it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from support.lanes import SLOW

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

ENDS_WITHIN_S = 90.0
# Two servers of Kafka and Valkey, the model, six processes of ours, and what the workers start.
LEAST_PROCESSES = 12


@pytest.fixture
def drill(tmp_path: Path, cache_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """A drill under way; `cache_dir` has what Kafka needs."""
    assert cache_dir.exists()
    argv = [sys.executable, "-m", "crewstream", "drill", "--workflows", "50", "--kills", "20"]
    process = subprocess.Popen(
        [*argv, "--keep", str(tmp_path)], stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    with process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if line.startswith("everything runs"):
                    break
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGKILL, -signal.SIGKILL),
        pytest.param(signal.SIGINT, 130, marks=SLOW),
    ],
)
def test_what_a_drill_has_started_ends_with_it(
    drill: subprocess.Popen[str],
    number: signal.Signals,
    code: int,
    is_gone: Callable[[int], bool],
    eventually: Callable[[Callable[[], bool]], None],
) -> None:
    family = [child.pid for child in psutil.Process(drill.pid).children(recursive=True)]
    assert len(family) >= LEAST_PROCESSES
    drill.send_signal(number)
    assert drill.wait(ENDS_WITHIN_S) == code
    eventually(lambda: all(map(is_gone, family)))
