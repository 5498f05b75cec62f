"""Processes that are ours (leashed, logged, stopped with grace) and the claim on a data folder."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING

from crewstream.embedded import leash
from crewstream.errors import StartFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

MAX_LOG_BYTES = 16 * 1024 * 1024
# The lock of a process that was killed a moment ago is freed only when the kernel is done with it.
CLAIM_WAIT_S = 2.0
READY_POLL_S = 0.05


class OwnedProcess:
    """A process of ours. `ended` gets its exit code (negative: the signal that ended it)."""

    def __init__(
        self,
        name: str,
        popen: subprocess.Popen[bytes],
        ended: Future[int],
        log_file: Path,
        log_from: int,
    ) -> None:
        self.name, self.pid, self.ended, self.log_file = name, popen.pid, ended, log_file
        self._popen, self._log_from = popen, log_from

    @property
    def running(self) -> bool:
        return not self.ended.done()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when the process has ended."""
        self._popen.send_signal(number)

    def kill(self) -> int:
        """Kill it now and return its exit code."""
        self.signal(signal.SIGKILL)
        return self.ended.result()

    def stop(self, grace_s: float) -> int:
        """SIGTERM, then SIGKILL after `grace_s`; returns the exit code."""
        self.signal(signal.SIGTERM)
        try:
            return self.ended.result(grace_s)
        except TimeoutError:
            return self.kill()

    def log(self) -> str:
        """What it has written since it was started."""
        with self.log_file.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(self._log_from if self._log_from <= size else 0)
            return file.read().decode(errors="replace")

    def last_words(self, lines: int = 12) -> str:
        """Its last log lines, indented, for an error message."""
        tail = self.log().rstrip().splitlines()[-lines:]
        return "\n".join(f"    {line}" for line in tail) or "    (it wrote nothing)"


def spawn(
    name: str,
    argv: Sequence[str],
    *,
    log_file: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    inherit: Sequence[int] = (),
) -> OwnedProcess:
    """Start `argv` in a session of its own, on the leash; output is appended to `log_file`.

    `env` None means ours. `inherit`: file descriptors that the process keeps open (a lock, see
    `claimed`). Raises StartFailed when it cannot be started at all.
    """
    log_file.parent.mkdir(parents=True, exist_ok=True)
    trim_log(log_file)
    log_from = log_file.stat().st_size if log_file.exists() else 0
    popen = functools.partial(
        subprocess.Popen[bytes],
        [sys.executable, "-IS", leash.__file__, str(os.getpid()), *argv],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        pass_fds=inherit,
        env=env,
        cwd=cwd,
    )
    started: Future[subprocess.Popen[bytes]] = Future()
    ended: Future[int] = Future()
    # A running future cannot be cancelled: who awaits it must not be able to break it.
    ended.set_running_or_notify_cancel()
    # The kernel's death signal follows the spawning THREAD, so one thread spawns and stays.
    threading.Thread(
        target=_own, args=(popen, log_file, started, ended), name=f"{name}-owner", daemon=True
    ).start()
    try:
        return OwnedProcess(name, started.result(), ended, log_file, log_from)
    except OSError as error:
        raise StartFailed(f"{name} could not be started: {error}") from error


def _own(
    popen: Callable[..., subprocess.Popen[bytes]],
    log_file: Path,
    started: Future[subprocess.Popen[bytes]],
    ended: Future[int],
) -> None:
    try:
        with log_file.open("ab") as log:
            process = popen(stdout=log)
    except OSError as error:
        started.set_exception(error)
        return
    started.set_result(process)
    code = process.wait()
    # What it started itself is in its session, and of no use without it.
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    ended.set_result(code)


def trim_log(log_file: Path, limit: int = MAX_LOG_BYTES) -> None:
    """Move a log of more than `limit` bytes to `<name>.1` and go on with an empty one.

    The file is emptied, not renamed: whoever appends to it keeps it open.
    """
    if log_file.exists() and log_file.stat().st_size > limit:
        shutil.copyfile(log_file, log_file.with_name(f"{log_file.name}.1"))
        os.truncate(log_file, 0)


def await_ready(process: OwnedProcess, ready: Callable[[], bool], timeout_s: float) -> None:
    """Return when `ready()`; StartFailed, with its last words, when it ends or takes longer.

    `ready` may raise StartFailed itself. A process that did not get ready is not left running.
    """
    deadline = time.monotonic() + timeout_s
    try:
        while not _is_ready(process, ready, deadline):
            time.sleep(READY_POLL_S)
    except StartFailed:
        process.kill()
        raise


def _is_ready(process: OwnedProcess, ready: Callable[[], bool], deadline: float) -> bool:
    # Looked at before the probe: the probe may know more about an end than we do.
    running = process.running
    if ready():
        return True
    if not running:
        raise StartFailed(died(process))
    if time.monotonic() > deadline:
        raise StartFailed(
            f"{process.name} did not get ready in time and is stopped; "
            f"{process.log_file} ends with:\n{process.last_words()}"
        )
    return False


def died(process: OwnedProcess) -> str:
    """The sentence about a process that has ended: exit code and last words."""
    return (
        f"{process.name} ended with exit code {process.ended.result()}; "
        f"{process.log_file} ends with:\n{process.last_words()}"
    )


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[int]:
    """Make `folder` (created if missing) ours; StartFailed when another instance has it.

    Yields a file descriptor. A process that inherits it keeps the claim after this block, until it
    ends: the kernel frees the lock, so it is never stale.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / "owner.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StartFailed(f"the data folder {folder} cannot be used: {error}") from error
    try:
        if not _locked_within(lock, CLAIM_WAIT_S):
            raise StartFailed(
                f"the data folder {folder} is in use by another instance; "
                "stop that one, or choose another data folder"
            )
        yield lock
    finally:
        os.close(lock)


def _locked_within(lock: int, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        else:
            return True
