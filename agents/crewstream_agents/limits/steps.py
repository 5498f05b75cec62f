"""A call as steps that somebody takes: written once, driven from a thread or from an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import Any

from crewstream_agents.cancellation import StopFlag


@dataclass(frozen=True, slots=True)
class Work:
    """Something short that blocks, such as asking Redis; its result is the answer."""

    do: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Pause:
    """Let time pass, unless the run is stopped."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Try:
    """Make the call, on this callee; its result is the answer."""

    callee: Any


Step = Work | Pause | Try
Steps = Generator[Step, Any, Any]


def drive(steps: Steps, flag: StopFlag, make: Callable[[Any], Any]) -> Any:
    """Take the steps in this thread: what they return. Raises what they raise, or HookAborted."""

    def take(step: Step) -> Any:
        if isinstance(step, Pause):
            return flag.sleep(step.seconds)
        return step.do() if isinstance(step, Work) else make(step.callee)

    answer, error = None, None
    while True:
        try:
            step = steps.send(answer) if error is None else steps.throw(error)
        except StopIteration as end:
            return end.value
        answer, error = None, None
        try:
            answer = take(step)
        except BaseException as raised:  # noqa: BLE001 - the steps decide what becomes of it
            error = raised


async def adrive(steps: Steps, flag: StopFlag, make: Callable[[Any], Awaitable[Any]]) -> Any:
    """The same on an event loop."""

    async def take(step: Step) -> Any:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return flag.check()
        return await (asyncio.to_thread(step.do) if isinstance(step, Work) else make(step.callee))

    answer, error = None, None
    while True:
        try:
            step = steps.send(answer) if error is None else steps.throw(error)
        except StopIteration as end:
            return end.value
        answer, error = None, None
        try:
            answer = await take(step)
        except BaseException as raised:  # noqa: BLE001 - the steps decide what becomes of it
            error = raised
