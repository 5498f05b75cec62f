"""A process that has imported CrewAI once and forks runners from itself, in milliseconds each.

Not multiprocessing's forkserver: that runs the worker's main module again in every runner, blocks
the loop that starts one, shares one environment among all pools and outlives them.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import logging
import os
import resource
import signal
import socket
import struct
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from crewstream_agents.confinement import confine, hide
from crewstream_agents.forced import FORCED_ENVIRONMENT, TAKEN_ENVIRONMENT

PID: Final = struct.Struct(">I")
"""What goes back to the worker: a runner's process id, or 0 for "CrewAI is imported"."""

LENGTH: Final = struct.Struct(">I")
"""Stands before an order, with the socket of the runner-to-be."""

_PR_SET_PDEATHSIG: Final = 1


@dataclass(frozen=True, slots=True)
class Order:
    """What a runner is started with.

    `environ` is added to what all runners have. `alone`: it has one run, whose folder is its own.
    `writable` are paths below which it may write beside its own folder; None: anywhere.
    """

    concurrency: int
    environ: Mapping[str, str] = field(default_factory=dict)
    alone: bool = False
    writable: Sequence[str] | None = None
    max_file_bytes: int = 0

    def dump(self) -> bytes:
        """As it travels."""
        body = json.dumps(asdict(self)).encode()
        return LENGTH.pack(len(body)) + body


def main() -> None:
    """Import CrewAI, then fork a runner for each socket that the worker sends."""
    given = _arguments()
    die_with(given.parent)
    hide()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the worker's to handle
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps runners
    os.environ.update(FORCED_ENVIRONMENT, CREWAI_STORAGE_DIR=given.storage)
    for name in TAKEN_ENVIRONMENT:
        os.environ.pop(name, None)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    import crewstream_agents.runner  # noqa: F401, PLC0415 - only now is the environment right

    # A runner's collector would go through all of this, and copy every page that it touches.
    gc.collect()
    gc.freeze()
    control = socket.socket(fileno=given.control)
    control.sendall(PID.pack(0))
    while True:
        length, sockets, _, _ = socket.recv_fds(control, LENGTH.size, 1)
        if not sockets:
            return  # the worker is gone
        order = Order(**json.loads(_exactly(control, LENGTH.unpack(length)[0])))
        control.sendall(PID.pack(_fork(sockets[0], control, given, order)))
        os.close(sockets[0])


def _exactly(control: socket.socket, size: int) -> bytes:
    body = b""
    while len(body) < size:
        body += control.recv(size - len(body))
    return body


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies, however that comes about."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it died before we asked


def _fork(fd: int, control: socket.socket, given: argparse.Namespace, order: Order) -> int:
    if threading.active_count() > 1:
        logging.getLogger(__name__).warning("forking with threads: %s", threading.enumerate())
    zygote = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        control.close()
        _become_runner(fd, zygote, given, order)
    except BaseException:
        logging.getLogger(__name__).exception("a runner ended")
        os._exit(1)
    os._exit(0)  # without the exit handlers of what the zygote imported


def _become_runner(fd: int, zygote: int, given: argparse.Namespace, order: Order) -> None:
    from crewstream_agents import runner  # noqa: PLC0415 - imported before the fork

    die_with(zygote)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # a tool may wait for a process of its own
    os.environ.update(order.environ)
    storage = _settle_in(Path(given.storage, str(os.getpid())), order)
    runner.serve(
        socket.socket(fileno=fd),
        assign=given.assign,
        concurrency=order.concurrency,
        heartbeat_s=given.heartbeat_s,
        storage=str(storage),
        alone=order.alone,
    )


def _settle_in(own: Path, order: Order) -> Path:
    """Make a runner's folder the one in which it works, and out of which it cannot write."""
    storage, work, temporary = own / "storage", own / "work", own / "tmp"
    for path in (storage, work, temporary):
        path.mkdir(parents=True, exist_ok=True)
    os.chdir(work)
    os.environ["TMPDIR"] = str(temporary)
    tempfile.tempdir = None  # it is looked up again
    if order.max_file_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order.max_file_bytes, order.max_file_bytes))
    if order.writable is not None:
        for extra in order.writable:
            if not Path(extra).exists():
                Path(extra).mkdir(parents=True, exist_ok=True)
        if not confine([str(own), "/dev", *order.writable]):
            logging.getLogger(__name__).warning(
                "this system has no Landlock: nothing but their good manners keeps tools from "
                "writing outside of %s",
                own,
            )
    return storage


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--control", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--storage", required=True)
    parser.add_argument("--assign", required=True)
    parser.add_argument("--heartbeat-s", type=float, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
