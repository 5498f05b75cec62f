"""What every test runs under: a quiet environment, and property tests without deadlines."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from crewstream.embedded.kafka import prepare

if TYPE_CHECKING:
    from collections.abc import Callable

# Set before anything imports CrewAI, which reads them at import and would report home.
os.environ.setdefault("CREWAI_DISABLE_TELEMETRY", "true")
os.environ.setdefault("CREWAI_DISABLE_TRACKING", "true")
os.environ.setdefault("CREWAI_TRACING_ENABLED", "false")  # else each kickoff waits 5 s to ask
os.environ.setdefault("OTEL_SDK_DISABLED", "true")

# The projects that the user of this machine has added are none of the tests'.
os.environ["CREWSTREAM_PROJECTS"] = os.devnull

# No deadline: how fast an example runs says more about the machine than about the code.
settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Wait until a condition holds; fail when it does not within 20 s."""

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, "it did not come true within 20 s"
            time.sleep(0.02)

    return wait


@pytest.fixture
def is_gone() -> Callable[[int], bool]:
    """Whether a process has ended, by pid; one that nobody has collected yet counts as ended."""

    def gone(pid: int) -> bool:
        ps = ["ps", "-o", "stat=", "-p", str(pid)]
        state = subprocess.run(ps, stdout=subprocess.PIPE, text=True, check=False).stdout.strip()
        return not state or state.startswith("Z")

    return gone


@pytest.fixture(scope="session")
def cache_dir() -> Path:
    """The user's cache: jars and class archive are made once a machine, not once a session."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crewstream"
    prepare(cache)
    return cache
