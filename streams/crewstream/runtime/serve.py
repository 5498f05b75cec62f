"""Runs an app until it is told to stop: waits for Kafka, drains at SIGTERM, gives an exit code."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from crewstream.runtime.connection import wait_for_topics
from crewstream.runtime.leave import STALLED, leave

if TYPE_CHECKING:
    from crewstream.runtime.application import Application

T = TypeVar("T")

STOPPED, CRASHED = 0, 1
STOP_SLACK_S = 15.0
OURS = [f"crewstream.runtime.{name}" for name in ("application", "consumer", "fence", "ledger",
        "member", "transport", "worker_app")]  # fmt: skip
"""Services of mode log their steps under the module of their class."""

_log = logging.getLogger(__name__)


async def serve(app: Application) -> int:
    """Run `app` until SIGTERM or SIGINT, then drain it; a second signal ends it at once.

    Returns 0 after a stop, 1 when the app crashed (it was logged). Raises Misconfigured when the
    topics do not fit. May leave the process: see `crewstream.runtime.leave`.
    """
    _quieten()
    told = _stop_signal()
    cluster = await _unless(told, wait_for_topics(app.kafka, app.topics_used))
    if cluster is None:
        return STOPPED
    app.join(cluster)
    app.watchdog.start()
    starting = asyncio.create_task(app.start())
    try:
        await _unless(told, _until_crashed(app, starting))
    finally:
        app.watchdog.stop()
        await _stop(app, starting)
    return STOPPED if told.is_set() else CRASHED


def _quieten() -> None:
    """Below a warning they tell tables of offsets, and each step of each service."""
    for name in ("faust", "mode", "aiokafka", *OURS):
        logging.getLogger(name).setLevel(logging.WARNING)


def _stop_signal() -> asyncio.Event:
    told, loop = asyncio.Event(), asyncio.get_running_loop()

    def tell(number: signal.Signals) -> None:
        _log.info("%s: stopping", number.name)
        told.set()
        loop.remove_signal_handler(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, tell, number)
    return told


async def _unless(told: asyncio.Event, doing: Coroutine[Any, Any, T]) -> T | None:
    """The result of `doing`, or None when we were told to stop before it was there."""
    task, telling = asyncio.create_task(doing), asyncio.create_task(told.wait())
    await asyncio.wait([task, telling], return_when=asyncio.FIRST_COMPLETED)
    telling.cancel()
    if task.done():
        return task.result()
    task.cancel()
    return None


async def _until_crashed(app: Application, starting: asyncio.Task[None]) -> None:
    crashed = asyncio.create_task(app.wait_until_stopped())
    try:
        await asyncio.wait([starting, crashed], return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
        await crashed
    finally:
        crashed.cancel()


async def _stop(app: Application, starting: asyncio.Task[None]) -> None:
    limit_s = app.options.drain_grace_s + app.options.settle_timeout_s + STOP_SLACK_S
    try:
        await asyncio.wait_for(app.stop(), limit_s)
    except TimeoutError:
        leave(STALLED, f"still not stopped after {limit_s:g} s")
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
