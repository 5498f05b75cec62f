"""When a runner is to be replaced."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from crewstream_agents.remote import Remote
from crewstream_agents.ticket import PoolLimits
from crewstream_agents.wire import Setup

LIMITS = PoolLimits(max_rss_bytes=1 << 50)


@pytest.fixture
async def remote() -> AsyncIterator[Remote]:
    """Our own process, as if it were a runner."""
    ours, theirs = socket.socketpair()
    with theirs:
        found = await Remote.connect(os.getpid(), ours, Setup())
        yield found
        found.leave()


async def test_one_that_is_well_stays(remote: Remote) -> None:
    assert LIMITS.unfit(remote, remote.heard_at) == ""


async def test_one_over_its_memory_goes(remote: Remote) -> None:
    limits = replace(LIMITS, max_rss_bytes=remote.rss_bytes() // 2)

    assert (
        limits.unfit(remote, remote.heard_at) == f"it uses more than {limits.max_rss_bytes} bytes"
    )


async def test_one_that_is_silent_while_it_has_runs_goes(remote: Remote) -> None:
    late = remote.heard_at + LIMITS.hung_after_s + 1
    assert LIMITS.unfit(remote, late) == ""

    remote.runs["w/t/1"] = asyncio.get_running_loop().create_future()

    assert LIMITS.unfit(remote, late) == "it hangs"
    assert LIMITS.unfit(remote, late - 2) == ""


async def test_one_with_a_run_that_does_not_stop_goes(remote: Remote) -> None:
    remote.stop("w/t/1")
    since = remote.stopping["w/t/1"]

    assert LIMITS.unfit(remote, since + LIMITS.stop_grace_s / 2) == ""
    assert LIMITS.unfit(remote, since + LIMITS.stop_grace_s + 1) == "a run in it does not stop"


async def test_one_that_has_begun_enough_runs_goes(remote: Remote) -> None:
    remote.started = LIMITS.max_runs

    assert LIMITS.unfit(remote, remote.heard_at) == f"it has started {LIMITS.max_runs} runs"
