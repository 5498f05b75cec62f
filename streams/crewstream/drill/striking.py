"""Injects faults: finds what is struck, strikes, and sees when it is well again."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import psutil

from crewstream.drill.plan import Kind, Planned
from crewstream.drill.proxy import Cut
from crewstream.drill.scratch import COORDINATORS, SESSION_S, WORKERS, Scratch

FROZEN_S = 2.5 * SESSION_S
CUT_S = (1.0, 6.0)
"""Shorter and longer than a session."""
ALIVE_WITHIN_S = 20.0
READY_WITHIN_S = 90.0
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Struck:
    """A fault that was injected, at `at_s` of the epoch; `healed_s`: what it struck was well again.

    `pid` is the service's process then, 0 where connections were cut.
    """

    kind: Kind
    target: str
    how: str
    at_s: float
    healed_s: float
    pid: int


async def strike_all(
    scratch: Scratch, planned: Sequence[Planned], say: Callable[[str], None]
) -> Sequence[Struck]:
    """Inject every fault at its time; returns when all have healed. `say` is told of each."""
    began_s = time.monotonic()
    under_way: list[asyncio.Task[Struck | None]] = []
    async with asyncio.TaskGroup() as group:
        for each in planned:
            await asyncio.sleep(max(0.0, began_s + each.at_s - time.monotonic()))
            under_way.append(group.create_task(_tell(strike(scratch, each), each, say)))
    return [struck for task in under_way if (struck := task.result()) is not None]


async def _tell(
    striking: Awaitable[Struck | None], planned: Planned, say: Callable[[str], None]
) -> Struck | None:
    struck = await striking
    if struck is None:
        say(f"{planned.at_s:5.1f} s {planned.kind}: nothing was there to be struck")
    else:
        say(f"{planned.at_s:5.1f} s {planned.kind} {struck.target}: {struck.how}")
    return struck


async def strike(scratch: Scratch, planned: Planned) -> Struck | None:
    """Inject one fault; None when there was nothing to strike within 20 s."""
    if planned.kind is Kind.NETWORK:
        return await _cut(scratch, planned)
    name = await _alive(scratch, planned)
    if name is None:
        return None
    if planned.kind is Kind.FREEZE:
        return await _freeze(scratch, planned, name)
    if planned.kind is Kind.RUNNER:
        return await _kill_runner(scratch, planned, name)
    return await _kill(scratch, planned, name)


def targets(scratch: Scratch, kind: Kind) -> Sequence[str]:
    """The services that a fault may strike."""
    found = {
        Kind.COORDINATOR: COORDINATORS,
        Kind.BROKER: [f"kafka-{broker.node_id}" for broker in scratch.brokers],
        Kind.REDIS: ["valkey"],
        Kind.RECORDER: ["recorder"],
        Kind.FREEZE: [*WORKERS, *COORDINATORS],
        Kind.NETWORK: sorted(scratch.proxies),
    }
    return found.get(kind, WORKERS)


async def _alive(scratch: Scratch, planned: Planned) -> str | None:
    """The chosen service, or another of its kind while that one is down."""
    names = targets(scratch, planned.kind)
    first = int(planned.target * len(names))
    deadline_s = time.monotonic() + ALIVE_WITHIN_S
    while time.monotonic() < deadline_s:
        for name in (*names[first:], *names[:first]):
            if scratch.process(name).running and scratch.is_up(name):
                return name
        await asyncio.sleep(POLL_S)
    return None


async def _kill(scratch: Scratch, planned: Planned, name: str) -> Struck:
    process, up = scratch.process(name), scratch.next_up(name)
    number = signal.SIGTERM if planned.kind is Kind.STOP else signal.SIGKILL
    at_s = time.time()
    process.signal(number)
    # It may be struck again before it is up: then it is the later fault that it has to heal from.
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(up.wait(), READY_WITHIN_S)
    return Struck(planned.kind, name, number.name, at_s, time.time(), process.pid)


async def _kill_runner(scratch: Scratch, planned: Planned, name: str) -> Struck | None:
    worker = scratch.process(name).pid
    runners = _runners(worker)
    if not runners:
        return None
    runner = runners[int(planned.manner * len(runners))]
    at_s = time.time()
    with contextlib.suppress(psutil.NoSuchProcess):
        runner.kill()
    # The worker starts another at once; nothing outside of it tells when.
    return Struck(planned.kind, name, f"SIGKILL of runner {runner.pid}", at_s, at_s, worker)


def _runners(worker: int) -> Sequence[psutil.Process]:
    """A worker's child is the zygote, and what that has forked are the runners."""
    with contextlib.suppress(psutil.NoSuchProcess):
        zygotes = psutil.Process(worker).children()
        return [runner for zygote in zygotes for runner in zygote.children()]
    return []


async def _freeze(scratch: Scratch, planned: Planned, name: str) -> Struck:
    """Stop a process, or all that belongs to it, as when a virtual machine is paused."""
    process = scratch.process(name)
    whole = planned.manner < 0.5  # noqa: PLR2004 - one time in two
    frozen = _family(process.pid) if whole else _family(process.pid)[:1]
    at_s = time.time()
    for each in frozen:
        _signal(each, signal.SIGSTOP)
    try:
        await asyncio.sleep(FROZEN_S)
    finally:
        for each in frozen:
            _signal(each, signal.SIGCONT)
    how = "SIGSTOP of all of it" if whole else "SIGSTOP"
    return Struck(planned.kind, name, how, at_s, time.time(), process.pid)


def _family(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)


async def _cut(scratch: Scratch, planned: Planned) -> Struck:
    names = targets(scratch, planned.kind)
    name = names[int(planned.target * len(names))]
    how = Cut.SILENCE if planned.manner < 0.5 else Cut.RESET  # noqa: PLR2004 - one time in two
    least_s, most_s = CUT_S
    lasts_s = least_s + (most_s - least_s) * (2 * planned.manner % 1)
    at_s = time.time()
    scratch.proxies[name].cut(how)
    try:
        await asyncio.sleep(lasts_s)
    finally:
        scratch.proxies[name].mend()
    return Struck(planned.kind, name, f"{how.value} for {lasts_s:.1f} s", at_s, time.time(), 0)
