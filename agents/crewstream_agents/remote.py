"""One runner process as the worker sees it: its runs, its health, its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING

import psutil

from crewstream_agents.wire import (
    Account,
    Alive,
    Cancel,
    Setup,
    Start,
    Underway,
    to_runner,
    to_worker,
)

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from crewstream_agents.spec import CrewOutcome, CrewTask, Failure, Progress

logger = logging.getLogger(__name__)


class RunnerDied(Exception):
    """The runner is gone, and with it the runs that were in it."""


class Remote:
    """A live runner. Times are seconds of the monotonic clock.

    `family` names what it has in its environment that others have not.
    """

    def __init__(
        self,
        pid: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        family: str = "",
    ) -> None:
        self.pid, self.family = pid, family
        self.runs: dict[str, asyncio.Future[CrewOutcome]] = {}
        self.stopping: dict[str, float] = {}
        """Runs that were told to stop and have not ended, and since when."""
        self.stray_since: float | None = None
        self.heard_at = self.idle_since = time.monotonic()
        self.started = 0
        self.gone = asyncio.Event()
        self._process = psutil.Process(pid)
        self._reader = reader
        self._writer = writer
        self._out = to_runner()

    @classmethod
    async def connect(cls, pid: int, sock: socket.socket, setup: Setup, family: str = "") -> Remote:
        """Take over the socket of a runner that was just forked. Raises RunnerDied."""
        try:
            reader, writer = await asyncio.open_unix_connection(sock=sock)
            remote = cls(pid, reader, writer, family)
        except (OSError, psutil.NoSuchProcess) as error:
            sock.close()
            raise RunnerDied from error
        remote._out.send(writer, setup)
        return remote

    async def listen(
        self, changed: Callable[[], object], tell: Callable[[Sequence[Progress]], object]
    ) -> None:
        """Follow the runner to its end; `changed` is called whenever a slot may be free.

        `tell` gets the progress of its runs.
        """
        messages = to_worker()
        while (message := await messages.receive(self._reader)) is not None:
            self.heard_at = time.monotonic()
            if isinstance(message, Alive):
                self._note_strays(message.strays)
            elif isinstance(message, Underway):
                tell(message.news)
            else:
                self._settle(message.outcome)
                changed()
        self.gone.set()
        self._writer.close()
        for ended in self.runs.values():
            if not ended.done():
                ended.set_exception(RunnerDied())

    async def run(self, task: CrewTask) -> CrewOutcome:
        """Have the runner run it. Raises RunnerDied; cancelling frees the slot at once."""
        return await self._ask(Start(task), task)

    async def account(self, task: CrewTask, failure: Failure) -> CrewOutcome:
        """Have the runner end it with what its journal has, run nothing. Raises RunnerDied."""
        return await self._ask(Account(task, failure), task)

    async def _ask(self, message: Start | Account, task: CrewTask) -> CrewOutcome:
        ended: asyncio.Future[CrewOutcome] = asyncio.get_running_loop().create_future()
        self.runs[task.assignment_id] = ended
        self.started += 1
        try:
            self._out.send(self._writer, message)
            with contextlib.suppress(ConnectionError):  # listen() tells
                await self._writer.drain()
            if self.gone.is_set():
                raise RunnerDied
            return await ended
        finally:
            del self.runs[task.assignment_id]
            self.idle_since = time.monotonic()
            if not ended.done() or ended.cancelled():
                self.stop(task.assignment_id)

    def stop(self, assignment_id: str) -> None:
        """Ask for the end of a run; how it ended is still to be told."""
        if not self.gone.is_set():
            self.stopping.setdefault(assignment_id, time.monotonic())
            self._out.send(self._writer, Cancel(assignment_id))

    def leave(self) -> None:
        """Have the runner end by itself: it does so when the socket closes."""
        self._writer.close()

    def kill(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            self._process.kill()

    def rss_bytes(self) -> int:
        """Resident memory; 0 when the process is gone."""
        try:
            return int(self._process.memory_info().rss)
        except psutil.NoSuchProcess:
            return 0

    def _note_strays(self, strays: int) -> None:
        if not strays:
            self.stray_since = None
        elif self.stray_since is None:
            self.stray_since = self.heard_at

    def _settle(self, outcome: CrewOutcome) -> None:
        self.stopping.pop(outcome.assignment_id, None)
        ended = self.runs.get(outcome.assignment_id)
        if ended is not None and not ended.done():
            ended.set_result(outcome)
