"""The worker's end of the zygote: starts it, asks it for runners, writes its words to the log."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from crewstream_agents.forced import TAKEN_ENVIRONMENT
from crewstream_agents.zygote import LENGTH, PID, Order

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER_PREFIX: Final = "crewstream-runners-"
logger = logging.getLogger(__name__)
runner_log = logging.getLogger("crewstream.runner")

IMPORT_TIMEOUT_S: Final = 120.0
"""How long `import crewai` may take; 3 to 8 s is usual, more on a loaded machine."""

FORK_TIMEOUT_S: Final = 30.0


class SpawnFailed(Exception):
    """A runner cannot be started."""


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    """What every runner is started with. `environ` is all of its environment.

    `assign`: `module:function` that sets the models of a crew.
    """

    environ: Mapping[str, str]
    heartbeat_s: float
    assign: str


class Spawner:
    """One zygote process, started anew when it has died."""

    def __init__(self, settings: RunnerSettings) -> None:
        self._settings = settings
        self._storage = _own_folder()
        self._process: asyncio.subprocess.Process | None = None
        self._control: socket.socket | None = None
        self._relay: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    async def spawn(self, order: Order) -> tuple[int, socket.socket]:
        """Start a runner: its process id, and the socket to talk to it. Raises SpawnFailed."""
        ours, theirs = socket.socketpair()
        try:
            async with self._lock:
                control = await self._zygote()
                dumped = order.dump()
                sent = socket.send_fds(control, [dumped[: LENGTH.size]], [theirs.fileno()])
                await asyncio.get_running_loop().sock_sendall(control, dumped[sent:])
                return await self._read_pid(control, FORK_TIMEOUT_S), ours
        except (OSError, SpawnFailed):
            ours.close()
            raise
        finally:
            theirs.close()

    async def clear(self, pid: int) -> None:
        """Remove the folder of a runner that has ended."""
        await asyncio.to_thread(shutil.rmtree, Path(self._storage, str(pid)), ignore_errors=True)

    async def close(self) -> None:
        """End the zygote; runners that are left die with it."""
        await self._end()
        shutil.rmtree(self._storage, ignore_errors=True)

    async def _zygote(self) -> socket.socket:
        if self._control is not None and self._process and self._process.returncode is None:
            return self._control
        await self._end()
        control, theirs = socket.socketpair()
        control.setblocking(False)
        with theirs:
            self._process = await self._launch(theirs.fileno())
        self._control = control
        self._relay = asyncio.create_task(self._log(self._process))
        await self._read_pid(control, IMPORT_TIMEOUT_S)
        return control

    async def _launch(self, control: int) -> asyncio.subprocess.Process:
        # From the loop's own thread: the kernel ties the child's life to the thread, not to us.
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "crewstream_agents.zygote"),
            *("--control", str(control), "--parent", str(os.getpid())),
            *("--storage", self._storage, "--assign", self._settings.assign),
            *("--heartbeat-s", str(self._settings.heartbeat_s)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={k: v for k, v in self._settings.environ.items() if k not in TAKEN_ENVIRONMENT},
            pass_fds=[control],
            start_new_session=True,  # a terminal's Ctrl-C reaches the worker only
        )

    async def _read_pid(self, control: socket.socket, timeout_s: float) -> int:
        answer = b""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                answer = await asyncio.get_running_loop().sock_recv(control, PID.size)
        if len(answer) != PID.size:
            await self._end()
            raise SpawnFailed(
                "the process that runners are forked from did not answer: what it said is in the "
                "log of crewstream.runner; `python -c 'import crewai'` tells whether it imports"
            )
        pid: int = PID.unpack(answer)[0]
        return pid

    async def _log(self, process: asyncio.subprocess.Process) -> None:
        """Runners' output, theirs and CrewAI's, is for the log, never for the terminal."""
        if process.stdout is None:
            return
        rest = b""
        while chunk := await process.stdout.read(65_536):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                runner_log.info("%s", line.decode(errors="replace").rstrip())

    async def _end(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            self._process = None
        if self._relay is not None:
            await self._relay
            self._relay = None


def _own_folder() -> str:
    """A new folder for this process; those of processes that were killed are removed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
        owner = folder.name.removeprefix(FOLDER_PREFIX).partition("-")[0]
        if owner.isdecimal() and not _runs(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)
    return tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{os.getpid()}-")


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
