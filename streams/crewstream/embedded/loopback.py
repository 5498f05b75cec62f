"""Ports on this machine: a free one, or a clear word about one that is taken."""

from __future__ import annotations

import random
import socket

from crewstream.errors import StartFailed

HOST = "127.0.0.1"
# Below the range that Linux and macOS give to outgoing connections: while a server is down, a
# client that keeps trying could otherwise be given that very port and connect to itself.
FIRST, LAST = 15_000, 29_999


def free_port() -> int:
    """A port that nothing listens on."""
    for _ in range(200):
        port = random.randint(FIRST, LAST)  # noqa: S311  nothing secret about it
        if is_free(port):
            return port
    raise StartFailed(f"no free port between {FIRST} and {LAST} on {HOST}")


def require_free(port: int, server: str) -> None:
    """StartFailed, naming `server`, when something listens on `port`."""
    if not is_free(port):
        raise StartFailed(
            f"{server} cannot listen on {HOST}:{port}: the port is in use; "
            "stop what uses it, or choose another port"
        )


def is_free(port: int) -> bool:
    """Whether nothing listens on `port`."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
