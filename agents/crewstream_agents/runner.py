"""Inside a runner: many crew runs on one loop, each isolated, observed, cancellable."""

from __future__ import annotations

import asyncio
import logging
import os
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from typing_extensions import override

from crewstream_agents import registry
from crewstream_agents.isolation import isolate
from crewstream_agents.journal import seam
from crewstream_agents.journal.store import Redises
from crewstream_agents.measure import Recorder
from crewstream_agents.quiet import CREWAI_MODEL_NAMES
from crewstream_agents.run import Assign, Run
from crewstream_agents.templates import Templates
from crewstream_agents.wire import Account, Alive, Ended, Setup, Start, to_runner, to_worker

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine

    from crewstream_agents.spec import CrewOutcome, CrewTask

logger = logging.getLogger(__name__)

SPARE_THREADS: Final = 8
"""Beside two a run: what CrewAI does in threads of its own accord."""

PROJECTS_SETTING: Final = "CREWSTREAM_PROJECTS"
"""Where the projects.yaml is that names the added projects."""

_threads_of_run: ContextVar[set[Future[Any]]] = ContextVar("crewstream_threads_of_run")


class Threads(ThreadPoolExecutor):
    """The threads of all runs, which knows whose work each one does.

    A thread cannot be stopped: the one of a stopped run is what makes a runner unfit.
    """

    @override
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = super().submit(fn, *args, **kwargs)
        owned = _threads_of_run.get(None)
        if owned is not None:
            owned.add(future)
            future.add_done_callback(owned.discard)
        return future


def serve(sock: socket.socket, *, assign: str, concurrency: int, heartbeat_s: float) -> None:
    """Run what comes through the socket until the worker closes it. `assign`: `module:function`."""
    module, _, name = assign.partition(":")
    isolate()
    seam.install()
    asyncio.run(_serve(sock, getattr(import_module(module), name), concurrency, heartbeat_s))


async def _serve(sock: socket.socket, assign: Assign, concurrency: int, heartbeat_s: float) -> None:
    asyncio.get_running_loop().set_default_executor(Threads(2 * concurrency + SPARE_THREADS))
    reader, writer = await asyncio.open_unix_connection(sock=sock)
    added = os.environ.get(PROJECTS_SETTING)
    projects = registry.projects(Path(added) if added else None)
    templates = Templates(projects, dict(os.environ))
    await Runner(reader, writer, templates, assign).serve(heartbeat_s)
    os._exit(0)  # asyncio would wait for threads that nobody waits for any more


class Runner:
    """The runs of this process."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        templates: Templates,
        assign: Assign,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._templates = templates
        self._assign = assign
        self._environ = dict(os.environ)
        for name in CREWAI_MODEL_NAMES:
            os.environ.pop(name, None)
        self._out = to_worker()
        self._setup = Setup()
        self._redises: Redises | None = None
        self._runs: dict[str, Run] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended_threads: list[set[Future[Any]]] = []

    async def serve(self, heartbeat_s: float) -> None:
        """Take messages until the worker is gone, or wants this runner gone."""
        self._spawn(self._beat(heartbeat_s))
        messages = to_runner()
        while (message := await messages.receive(self._reader)) is not None:
            if isinstance(message, Setup):
                self._set_up(message)
            elif isinstance(message, Start):
                run = self._new(message.task)
                ending = run.execute(self._templates, self._assign, self._environ)
                self._spawn(self._run(run, ending))
            elif isinstance(message, Account):
                run = self._new(message.task)
                self._spawn(self._run(run, run.account(message.failure)))
            elif message.assignment_id in self._runs:
                self._runs[message.assignment_id].stop()

    def _set_up(self, setup: Setup) -> None:
        self._setup = setup
        if setup.journal is not None:
            self._redises = Redises(setup.journal, self._send_alive)

    def _new(self, task: CrewTask) -> Run:
        return Run(task, self._redises, recorder=Recorder(prices=self._setup.prices))

    async def _run(self, run: Run, ending: Coroutine[Any, Any, CrewOutcome]) -> None:
        assignment_id = run.task.assignment_id
        threads: set[Future[Any]] = set()
        _threads_of_run.set(threads)
        self._runs[assignment_id] = run
        try:
            outcome = await ending
        finally:
            self._runs.pop(assignment_id, None)
        if threads:
            self._ended_threads.append(threads)
        self._out.send(self._writer, Ended(outcome))

    async def _beat(self, heartbeat_s: float) -> None:
        while True:
            self._send_alive()
            await asyncio.sleep(heartbeat_s)

    def _send_alive(self) -> None:
        """Also called while something holds up the loop: the transport sends at once."""
        self._ended_threads = [t for t in self._ended_threads if t]
        self._out.send(self._writer, Alive(strays=len(self._ended_threads)))

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
