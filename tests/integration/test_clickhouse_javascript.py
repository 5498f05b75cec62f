"""Port 8123 as ClickHouse's own JavaScript client uses it; npm brings the client once a machine."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from crewstream.embedded.clickhouse import ClickHouseFace
from crewstream.embedded.clickhouse_wire import User

pytestmark = pytest.mark.integration

FOLDER = Path(__file__).with_name("javascript")
USERS = (User("default"), User("reader"), User("writer", "pw", read_only=False))
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "crewstream" / "javascript"


@pytest.fixture(scope="module")
def modules() -> Path:
    """The folder in which node finds the client; skipped without node, npm, or what npm fetches."""
    missing = pytest.fail if os.environ.get("REQUIRE_SERVICES") else pytest.skip
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        missing("needs node and npm on the PATH")
    CACHE.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(FOLDER / name, CACHE / name)
    command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline"]
    done = subprocess.run(command, cwd=CACHE, capture_output=True, text=True, check=False)
    if done.returncode:
        missing(f"npm could not fetch @clickhouse/client: {done.stderr[-300:]}")
    return CACHE


async def test_the_official_javascript_client_reads_writes_and_sees_errors(
    modules: Path, tmp_path: Path
) -> None:
    async with ClickHouseFace(str(tmp_path / "data"), port=0, users=USERS) as face:
        process = await asyncio.create_subprocess_exec(
            *("node", str(FOLDER / "client.mjs"), face.url),
            cwd=modules,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    seen: dict[str, Any] = json.loads(out)
    assert seen.pop("broken")["code"], "an answer that breaks off is an error, not an end"
    assert seen == {
        "ping": True,
        "query_id": "chosen",
        "json": [{"text": "a\n'b\\", "some": [1, 2]}],
        "streamed": 200_000,
        "written_rows": "2",
        "rows": '1,"x"\n2,"y"\n',
        "write": {"code": "164", "type": "READONLY"},
        "unknown": {"code": "47", "type": "UNKNOWN_IDENTIFIER"},
    }
