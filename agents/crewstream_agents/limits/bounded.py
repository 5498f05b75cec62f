"""A time limit for code that has none: who waits for it goes on, it itself runs to its end."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotDone
from contextvars import ContextVar
from typing import Any

own_threads: ContextVar[set[Future[Any]] | None] = ContextVar("crewstream_threads", default=None)
"""The threads that work for this run: those that outlive it make a runner unfit."""


class Overdue(Exception):
    """It did not end within its time."""

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(f"{what} did not end within its {seconds:g} s")


def within(seconds: float | None, what: str, work: Callable[[], Any]) -> Any:
    """The result of `work`, done in a thread of its own when there is a limit. Raises Overdue.

    A thread cannot be stopped: one that is overdue is left alone, and ends with its runner, which
    is replaced when it has several of them.
    """
    if seconds is None:
        return work()
    done: Future[Any] = Future()
    watch(done)
    context = contextvars.copy_context()
    thread = threading.Thread(
        target=lambda: context.run(_settle, done, work), daemon=True, name=f"crewstream-{what}"
    )
    thread.start()
    try:
        return done.result(seconds)
    except NotDone:
        if done.done():  # its own TimeoutError
            raise
        raise Overdue(what, seconds) from None


def watch(thread: Future[Any]) -> None:
    """Count a thread as the run's own until it has ended."""
    owned = own_threads.get()
    if owned is not None:
        owned.add(thread)
        thread.add_done_callback(owned.discard)


async def awithin(seconds: float | None, what: str, work: Awaitable[Any]) -> Any:
    """The same for what can be awaited, and is then cancelled. Raises Overdue."""
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await work
    except TimeoutError:
        if seconds is None or not limit.expired():
            raise
        raise Overdue(what, seconds) from None


def _settle(done: Future[Any], work: Callable[[], Any]) -> None:
    try:
        done.set_result(work())
    except BaseException as error:  # noqa: BLE001 - whoever waits is told
        done.set_exception(error)
