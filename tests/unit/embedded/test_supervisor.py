"""The supervisor, on real processes: order, restarts, failures, and nothing left behind."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewstream.embedded.owned import OwnedProcess, spawn
from crewstream.embedded.supervisor import (
    LONGEST_DELAY_S,
    Event,
    Phase,
    Service,
    Supervisor,
    restart_delay_s,
)
from crewstream.errors import Misconfigured, StartFailed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SERVER = "import time; print('up', flush=True); time.sleep(60)"


class Stage:
    """Services made of small programs in a folder, and what was told about them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events: list[Event] = []

    def service(
        self, name: str, program: str = SERVER, *, after: tuple[str, ...] = (), within_s: float = 20
    ) -> Service:
        """A service that is ready when its program has printed "up"."""
        log_file = self.folder / f"{name}.log"
        life: list[OwnedProcess] = []

        def launch() -> OwnedProcess:
            life.append(spawn(name, [sys.executable, "-c", program], log_file=log_file))
            return life[-1]

        return Service(
            name,
            launch,
            lambda: "up" in life[-1].log(),
            after=after,
            ready_within_s=within_s,
            stop_grace_s=10,
        )

    def supervise(self, *services: Service) -> Supervisor:
        return Supervisor(services, on_event=self.events.append)

    def told(self, *phases: Phase) -> list[tuple[str, Phase]]:
        return [(e.service, e.phase) for e in self.events if e.phase in phases]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  it is about processes
            await asyncio.sleep(0.02)


async def test_services_start_in_order_of_need_and_stop_in_reverse(stage: Stage) -> None:
    services = [
        stage.service("worker", after=("broker", "cache")),
        stage.service("cache"),
        stage.service("broker"),
    ]
    async with stage.supervise(*services) as supervisor:
        assert all(process.running for process in supervisor.processes.values())
    assert stage.told(Phase.STARTING)[-1] == ("worker", Phase.STARTING)
    ready = stage.told(Phase.READY, Phase.STARTING)
    assert ready.index(("worker", Phase.STARTING)) > ready.index(("broker", Phase.READY))
    assert ready.index(("worker", Phase.STARTING)) > ready.index(("cache", Phase.READY))
    assert stage.told(Phase.STOPPING, Phase.STOPPED)[:2] == [
        ("worker", Phase.STOPPING),
        ("worker", Phase.STOPPED),
    ]
    assert [process.running for process in supervisor.processes.values()] == [False] * 3


async def test_a_killed_service_is_started_again_and_the_others_are_left_alone(
    stage: Stage,
) -> None:
    services = [stage.service("broker"), stage.service("worker", after=("broker",))]
    async with stage.supervise(*services) as supervisor:
        before = dict(supervisor.processes)
        before["broker"].signal(signal.SIGKILL)
        await until(lambda: len(stage.told(Phase.READY)) == 3)
        assert supervisor.processes["worker"] is before["worker"]
        assert supervisor.processes["broker"].running
    died = next(event for event in stage.events if event.phase is Phase.DIED)
    assert "broker ended with exit code -9" in died.detail
    delay = next(event for event in stage.events if event.phase is Phase.RESTARTING)
    assert delay.delay_s == 0.5


async def test_a_service_that_dies_at_its_start_fails_the_start_with_its_last_words(
    stage: Stage,
) -> None:
    bad = stage.service("worker", "import sys; print('no such topic'); sys.exit(4)", after=("ok",))
    supervisor = stage.supervise(stage.service("ok"), bad)
    with pytest.raises(StartFailed, match=r"(?s)worker ended with exit code 4;.*no such topic"):
        await supervisor.__aenter__()
    assert not supervisor.processes["ok"].running


async def test_a_service_that_keeps_dying_is_restarted_ever_more_slowly_and_says_why(
    stage: Stage,
) -> None:
    flag = stage.folder / "was here"
    program = f"import pathlib, sys, time; flag = pathlib.Path({str(flag)!r})\n"
    program += "if flag.exists(): print('disk full'); sys.exit(7)\n"
    program += "flag.touch(); print('up', flush=True); time.sleep(60)"
    async with stage.supervise(stage.service("worker", program)) as supervisor:
        supervisor.processes["worker"].signal(signal.SIGKILL)
        await until(lambda: len(stage.told(Phase.RESTARTING)) == 3)
    assert [e.delay_s for e in stage.events if e.phase is Phase.RESTARTING] == [0.5, 1, 2]
    last = [event for event in stage.events if event.phase is Phase.DIED][-1]
    assert "worker ended with exit code 7" in last.detail
    assert "disk full" in last.detail


async def test_a_service_that_does_not_get_ready_fails_the_start_and_is_killed(
    stage: Stage,
) -> None:
    supervisor = stage.supervise(stage.service("slow", "import time; time.sleep(60)", within_s=0.2))
    with pytest.raises(StartFailed, match=r"slow did not get ready in time"):
        await supervisor.__aenter__()
    assert not supervisor.processes["slow"].running


async def test_what_cannot_even_be_launched_fails_the_start_at_once(stage: Stage) -> None:
    def launch() -> OwnedProcess:
        raise StartFailed("the port is in use")

    with pytest.raises(StartFailed, match="the port is in use"):
        await stage.supervise(Service("broker", launch, lambda: True)).__aenter__()
    assert stage.told(*Phase) == [("broker", Phase.STARTING)]


async def test_a_start_that_is_interrupted_leaves_nothing(stage: Stage) -> None:
    slow = stage.service("slow", "import time; time.sleep(60)")
    never = stage.service("never", after=("slow",))
    supervisor = stage.supervise(slow, never)
    entering = asyncio.create_task(supervisor.__aenter__())
    await until(lambda: "slow" in supervisor.processes)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert not supervisor.processes["slow"].running
    assert "never" not in supervisor.processes


async def test_what_is_being_launched_while_we_stop_is_stopped_too(stage: Stage) -> None:
    launched: list[OwnedProcess] = []
    service = stage.service("broker")

    async def enter() -> None:
        await supervisor.__aenter__()

    def launch() -> OwnedProcess:
        loop.call_soon_threadsafe(entering.cancel)
        launched.append(service.launch())
        return launched[0]

    loop = asyncio.get_running_loop()
    supervisor = stage.supervise(Service("broker", launch, service.ready))
    entering = asyncio.create_task(enter())
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert [process.running for process in launched] == [False]


@pytest.mark.parametrize("after", [("worker",), ("nobody",)])
def test_needs_that_cannot_be_met_are_refused(stage: Stage, after: tuple[str, ...]) -> None:
    with pytest.raises(Misconfigured, match="worker"):
        stage.supervise(stage.service("worker", after=after))


@given(failures=st.integers(1, 10_000))
def test_delays_double_from_half_a_second_up_to_a_limit(failures: int) -> None:
    delay = restart_delay_s(failures)
    assert 0.5 <= delay <= LONGEST_DELAY_S
    assert restart_delay_s(failures + 1) == min(2 * delay, LONGEST_DELAY_S)


SUPERVISOR = """
import asyncio, pathlib, subprocess, sys
from functools import partial
from crewstream.embedded.owned import spawn
from crewstream.embedded.supervisor import Service, Supervisor

async def main():
    folder = pathlib.Path(sys.argv[1])
    launches = {
        name: partial(spawn, name, [sys.executable, "-c", sys.argv[2]], log_file=folder / name)
        for name in "abc"
    }
    services = [Service(name, launch, lambda: True) for name, launch in launches.items()]
    async with Supervisor(services) as supervisor:
        print(*(process.pid for process in supervisor.processes.values()), flush=True)
        await supervisor.wait()

asyncio.run(main())
"""


def test_a_killed_supervisor_leaves_nothing(
    tmp_path: Path, eventually: Callable[..., None], is_gone: Callable[[int], bool]
) -> None:
    argv = [sys.executable, "-c", SUPERVISOR, str(tmp_path), SERVER]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as supervisor:
        assert supervisor.stdout
        pids = [int(pid) for pid in supervisor.stdout.readline().split()]
        assert [is_gone(pid) for pid in pids] == [False] * 3
        supervisor.kill()
    for pid in pids:
        eventually(partial(is_gone, pid))
