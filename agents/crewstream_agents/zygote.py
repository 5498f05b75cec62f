"""A process that has imported CrewAI once and forks runners from itself, in milliseconds each.

Not multiprocessing's forkserver: that runs the worker's main module again in every runner, blocks
the loop that starts one, shares one environment among all pools and outlives them.
"""

from __future__ import annotations

import argparse
import ctypes
import logging
import os
import signal
import socket
import struct
import sys
import threading
from pathlib import Path
from typing import Final

from crewstream_agents.quiet import FORCED_ENVIRONMENT, TAKEN_ENVIRONMENT

PID: Final = struct.Struct(">I")
"""What goes back to the worker: a runner's process id, or 0 for "CrewAI is imported"."""

_PR_SET_PDEATHSIG: Final = 1


def main() -> None:
    """Import CrewAI, then fork a runner for each socket that the worker sends."""
    given = _arguments()
    die_with(given.parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the worker's to handle
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps runners
    os.environ.update(FORCED_ENVIRONMENT, CREWAI_STORAGE_DIR=given.storage)
    for name in TAKEN_ENVIRONMENT:
        os.environ.pop(name, None)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    import crewstream_agents.runner  # noqa: F401, PLC0415 - only now is the environment right

    control = socket.socket(fileno=given.control)
    control.sendall(PID.pack(0))
    while True:
        _, sockets, _, _ = socket.recv_fds(control, 1, 1)
        if not sockets:
            return  # the worker is gone
        control.sendall(PID.pack(_fork(sockets[0], control, given)))
        os.close(sockets[0])


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies, however that comes about."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it died before we asked


def _fork(fd: int, control: socket.socket, given: argparse.Namespace) -> int:
    if threading.active_count() > 1:
        logging.getLogger(__name__).warning("forking with threads: %s", threading.enumerate())
    zygote = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        control.close()
        _become_runner(fd, zygote, given)
    except BaseException:
        logging.getLogger(__name__).exception("a runner ended")
        os._exit(1)
    os._exit(0)  # without the exit handlers of what the zygote imported


def _become_runner(fd: int, zygote: int, given: argparse.Namespace) -> None:
    from crewstream_agents import runner  # noqa: PLC0415 - imported before the fork

    die_with(zygote)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # a tool may wait for a process of its own
    storage = Path(given.storage, str(os.getpid()))
    storage.mkdir(parents=True, exist_ok=True)
    os.environ["CREWAI_STORAGE_DIR"] = str(storage)
    runner.serve(
        socket.socket(fileno=fd),
        assign=given.assign,
        concurrency=given.concurrency,
        heartbeat_s=given.heartbeat_s,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--control", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--storage", required=True)
    parser.add_argument("--assign", required=True)
    parser.add_argument("--concurrency", type=int, required=True)
    parser.add_argument("--heartbeat-s", type=float, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
