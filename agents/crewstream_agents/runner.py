"""Inside a runner: many crew runs on one loop, each isolated, observed, cancellable."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import crewai.skills.tool  # noqa: F401 - once, and not in the first run of each runner
from typing_extensions import override

from crewstream_agents import people, registry, stores
from crewstream_agents.folder import Folder
from crewstream_agents.forced import CREWAI_MODEL_NAMES
from crewstream_agents.isolation import isolate, keep_below
from crewstream_agents.journal import seam
from crewstream_agents.journal.store import Redises
from crewstream_agents.limits.bounded import own_threads, watch
from crewstream_agents.measure import Recorder
from crewstream_agents.progress import EVERY_S
from crewstream_agents.quiet import hush
from crewstream_agents.run import Run
from crewstream_agents.stage import Assign
from crewstream_agents.templates import Templates
from crewstream_agents.wire import (
    Account,
    Alive,
    Ended,
    Setup,
    Start,
    Underway,
    to_runner,
    to_worker,
)

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine

    from crewstream_agents.spec import CrewOutcome, CrewTask

logger = logging.getLogger(__name__)

SPARE_THREADS: Final = 8
"""Beside two a run: what CrewAI does in threads of its own accord."""

PROJECTS_SETTING: Final = "CREWSTREAM_PROJECTS"
"""Where the projects.yaml is that names the added projects."""


class Threads(ThreadPoolExecutor):
    """The threads of all runs, which knows whose work each one does.

    A thread cannot be stopped: the one of a stopped run is what makes a runner unfit.
    """

    @override
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = super().submit(fn, *args, **kwargs)
        watch(future)
        return future


def serve(
    sock: socket.socket,
    *,
    assign: str,
    concurrency: int,
    heartbeat_s: float,
    storage: str,
    alone: bool,
) -> None:
    """Run what comes through the socket until the worker closes it. `assign`: `module:function`.

    `storage` is where CrewAI keeps things; `alone`: one run will come, and no other.
    """
    module, _, name = assign.partition(":")
    isolate()
    hush()
    keep_below(storage)
    stores.install_locks()
    seam.install()
    people.install()
    assigns: Assign = getattr(import_module(module), name)
    asyncio.run(_serve(sock, assigns, concurrency, heartbeat_s, alone))


async def _serve(
    sock: socket.socket, assign: Assign, concurrency: int, heartbeat_s: float, alone: bool
) -> None:
    asyncio.get_running_loop().set_default_executor(Threads(2 * concurrency + SPARE_THREADS))
    reader, writer = await asyncio.open_unix_connection(sock=sock)
    added = os.environ.get(PROJECTS_SETTING)
    projects = registry.projects(Path(added) if added else None)
    templates = Templates(projects, dict(os.environ), alone=alone)
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
        self._spawn(self._tell_progress())
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
        folder = Folder(Path.cwd(), shared=True) if self._templates.alone else None
        recorder = Recorder(prices=self._setup.prices)
        return Run(
            task,
            self._redises,
            explore=self._setup.explore,
            policy=self._setup.policy,
            recorder=recorder,
            folder=folder,
        )

    async def _run(self, run: Run, ending: Coroutine[Any, Any, CrewOutcome]) -> None:
        assignment_id = run.task.assignment_id
        threads: set[Future[Any]] = set()
        own_threads.set(threads)
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

    async def _tell_progress(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            told = (run.tracker.news(time.monotonic()) for run in self._runs.values())
            if news := [each for each in told if each is not None]:
                self._out.send(self._writer, Underway(news))

    def _send_alive(self) -> None:
        """Also called while something holds up the loop: the transport sends at once."""
        self._ended_threads = [t for t in self._ended_threads if t]
        self._out.send(self._writer, Alive(strays=len(self._ended_threads)))

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
