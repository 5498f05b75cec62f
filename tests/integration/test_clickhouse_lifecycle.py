"""The face of the embedded engine starts, stops, and says what is in its way."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from crewstream.adapters.clickhouse import connect
from crewstream.embedded.clickhouse import ClickHouseFace
from crewstream.errors import StartFailed, Unreachable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration

OWNER = "import chdb, sys; c = chdb.connect(sys.argv[1]); print('up', flush=True); sys.stdin.read()"


async def test_it_starts_again_on_its_data_and_its_port(tmp_path: Path) -> None:
    folder, port = str(tmp_path / "data"), 0
    for expected in (0, 1):
        async with ClickHouseFace(folder, port=port) as face, connect(face.url) as outside:
            port = face.port
            found = await outside.query("SELECT count() FROM system.tables WHERE name = 'kept'")
            assert found.rows == [(expected,)]
            async with connect(f"chdb://{folder}") as inside:
                create = "CREATE TABLE IF NOT EXISTS kept (a UInt8) ENGINE = MergeTree ORDER BY a"
                await inside.command(create)


async def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartFailed, match=f"cannot listen on http://127.0.0.1:{port}"):
            async with ClickHouseFace(str(tmp_path / "data"), port=port):
                pass


@pytest.fixture
def owned(tmp_path: Path) -> Iterator[str]:
    """A database folder that another process has open."""
    folder = str(tmp_path / "data")
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout
        assert owner.stdout.readline() == b"up\n"
        yield folder
        owner.communicate()


async def test_a_folder_that_another_process_owns_is_said(owned: str) -> None:
    with pytest.raises(StartFailed, match="another process"):
        async with ClickHouseFace(owned, port=0):
            pass
    with pytest.raises(Unreachable, match="if another process owns"):
        async with connect(f"chdb://{owned}"):
            pass
