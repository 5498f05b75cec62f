"""Time limits for code that has none, and steps that are driven from a thread or a loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import ContextVar
from typing import Any

import pytest
from crewai.hooks.dispatch import HookAborted

from crewstream_agents.cancellation import StopFlag
from crewstream_agents.limits.bounded import Overdue, awithin, own_threads, within
from crewstream_agents.limits.steps import Pause, Steps, Try, Work, adrive, drive

known: ContextVar[str] = ContextVar("known", default="")


def test_what_ends_in_time_is_as_if_it_had_no_limit() -> None:
    known.set("here")

    assert within(5, "it", known.get) == "here"
    assert within(None, "it", threading.get_ident) == threading.get_ident()
    with pytest.raises(TimeoutError):
        within(5, "it", fail)


def fail() -> None:
    raise TimeoutError("its own")


def test_what_does_not_end_in_time_is_left_alone_and_counted_until_it_ends(
    eventually: Callable[[Callable[[], bool]], None],
) -> None:
    release, threads = threading.Event(), set[Future[Any]]()
    own_threads.set(threads)
    try:
        with pytest.raises(Overdue, match=r"it did not end within its 0\.01 s"):
            within(0.01, "it", lambda: release.wait(20))
        assert len(threads) == 1
    finally:
        own_threads.set(None)
        release.set()
    eventually(lambda: not threads)


async def test_what_can_be_awaited_is_cancelled() -> None:
    async def fail_later() -> None:
        fail()

    with pytest.raises(Overdue):
        await awithin(0.01, "it", asyncio.sleep(20))
    with pytest.raises(TimeoutError):
        await awithin(5, "it", fail_later())
    assert await awithin(None, "it", asyncio.sleep(0, "done")) == "done"


def steps(log: list[Any]) -> Steps:
    try:
        log.append((yield Work(lambda: "worked")))
        yield Pause(0.0)
        log.append((yield Try("callee")))
        yield Try("broken")
    except ValueError as error:
        log.append(str(error))
    return "end"


def make(callee: str) -> str:
    if callee == "broken":
        raise ValueError("broken")
    return f"called {callee}"


async def amake(callee: str) -> str:
    return make(callee)


async def test_steps_are_taken_alike_in_a_thread_and_on_a_loop() -> None:
    told: list[list[Any]] = [[], []]

    assert drive(steps(told[0]), StopFlag(), make) == "end"
    assert await adrive(steps(told[1]), StopFlag(), amake) == "end"
    assert told[0] == told[1] == ["worked", "called callee", "broken"]


async def test_a_stopped_run_takes_no_further_step() -> None:
    flag = StopFlag()
    flag.stop()

    for _ in range(2):
        with pytest.raises(HookAborted):
            drive(steps([]), flag, make)
    with pytest.raises(HookAborted):
        await adrive(steps([]), flag, amake)
