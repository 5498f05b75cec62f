"""`crewstream up` as a person has it: comes up, works, stops, comes back; nothing outlives it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.request import urlopen

import pytest

from crewstream import Client, WorkflowStatus
from crewstream.adapters.clickhouse import connect
from crewstream.embedded.installation import Installation, Ports
from crewstream.embedded.loopback import free_port, require_free
from crewstream.errors import StartFailed

if TYPE_CHECKING:
    from crewstream import WorkflowFinished

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

UP_WITHIN_S, DOWN_WITHIN_S, RESULT_WITHIN_S = 180.0, 60.0, 60.0
EXAMPLE = Path(__file__).parents[2] / "examples" / "quarterly_performance_analysis.json"
TASKS = 2  # of that example
BROUGHT = Path(__file__).parents[1] / "samples" / "brought"
TAKEN_UP_WITHIN_S = 120.0  # the worker starts anew for a project that is added
FLOW: dict[str, object] = {
    "project_id": "tea-flow",
    "inputs": {"leaf": "mint"},
    "tasks": [{"task_id": "blend", "crew": "tea_flow"}],
}
ROWS = "SELECT count() FROM v_events WHERE workflow_id = {id:String} AND operation = 'task'"


@dataclass
class Up:
    """A running `crewstream up`."""

    process: subprocess.Popen[str]
    told: Path

    @property
    def family(self) -> list[int]:
        """Every process below it, by pid."""
        ps = ["ps", "-eo", "pid=,ppid="]
        listed = subprocess.run(ps, stdout=subprocess.PIPE, text=True, check=True).stdout
        children: dict[int, list[int]] = {}
        for pid, parent in (map(int, line.split()) for line in listed.splitlines()):
            children.setdefault(parent, []).append(pid)
        found, todo = list[int](), [self.process.pid]
        while todo:
            below = children.get(todo.pop(), [])
            found += below
            todo += below
        return found

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DOWN_WITHIN_S)


class Machine:
    """A data folder, and the ports that its installation has."""

    def __init__(self, folder: Path, cache_dir: Path) -> None:
        self.folder, self._told = folder, folder.with_suffix(".told")
        self.offset = free_offset()
        self.installation = Installation(
            folder, cache_dir=cache_dir, ports=Ports.shifted(self.offset)
        )

    @contextmanager
    def up(self) -> Iterator[Up]:
        """Run it until the end of the block; ready when it has said what to try next."""
        with self._told.open("w") as told, self.spawn(stderr=told) as process:
            running = Up(process, self._told)
            try:
                self._wait(running)
                yield running
            finally:
                process.kill()

    def spawn(self, stderr: IO[str] | int = subprocess.PIPE) -> subprocess.Popen[str]:
        words = ["up", "--data-dir", str(self.folder), "--port-offset", str(self.offset)]
        return subprocess.Popen(
            [sys.executable, "-m", "crewstream", *words],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            # Two runners would import nothing more, but fork and serve twice.
            env={**self.environment, "CREWSTREAM_WORKER_RUNNERS": "1"},
        )

    @property
    def projects(self) -> Path:
        """Where what was added is listed."""
        return self.folder.with_name("projects.yaml")

    @property
    def environment(self) -> dict[str, str]:
        """That of a person who works with it; descriptions of projects are kept apart as well."""
        theirs = {**os.environ, **self.installation.settings}
        # Nobody says so on a laptop, where `crewstream up` has one broker.
        del theirs["CREWSTREAM_REPLICAS"]
        return {**theirs, "CREWSTREAM_PROJECTS": str(self.projects)}

    def said(self, *words: str) -> str:
        """What a verb writes."""
        done = subprocess.run(
            [sys.executable, "-m", "crewstream", *words],
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return done.stdout

    def _wait(self, running: Up) -> None:
        assert running.process.stdout
        deadline = time.monotonic() + UP_WITHIN_S
        for line in running.process.stdout:
            assert time.monotonic() < deadline
            if "crewstream query" in line:
                return
        pytest.fail(f"it did not come up:\n{running.told.read_text('utf-8')}")

    def client(self) -> Client:
        bootstrap, status_url = self.installation.kafka.bootstrap, self.installation.status_url
        return Client(bootstrap, tenant="acme", status_url=status_url, projects=self.projects)


def free_offset() -> int:
    """What to add to the usual ports so that all of them are free."""
    for _ in range(50):
        offset = free_port() - Ports().kafka
        try:
            for port in astuple(Ports.shifted(offset)):
                require_free(port, "the test")
        except StartFailed:
            continue
        return offset
    pytest.fail("no row of free ports")


@pytest.fixture
def machine(tmp_path: Path, cache_dir: Path) -> Machine:
    return Machine(tmp_path / "data", cache_dir)


async def submitted(
    machine: Machine, request: dict[str, object] | None = None, within_s: float = RESULT_WITHIN_S
) -> WorkflowFinished:
    async with machine.client() as client:
        handle = await client.submit(request or json.loads(EXAMPLE.read_text("utf-8")))
        return await handle.result(within_s)


async def known_status(machine: Machine, workflow_id: str) -> str:
    """The status that the projector tells."""
    for _ in range(200):
        state = await machine.client().status(workflow_id)
        if state and state["status"] == "completed":
            return str(state["status"])
        await asyncio.sleep(0.1)
    return "unknown"


async def recorded_tasks(machine: Machine, workflow_id: str) -> int:
    """How many of its tasks ClickHouse has, once it has them all or 20 s are over."""
    found = 0
    async with connect(machine.installation.clickhouse_url) as analytics:
        for _ in range(200):
            [(found,)] = (await analytics.query(ROWS, {"id": workflow_id})).rows
            if found == TASKS:
                break
            await asyncio.sleep(0.1)
    return found


def served_schemas(machine: Machine) -> list[str]:
    """The subjects that any tool for Confluent's registry would find."""
    url = f"{machine.installation.schemas_url}/subjects"
    with urlopen(url, timeout=10) as answer:  # noqa: S310  (ours)
        found: list[str] = json.load(answer)
    return found


async def test_it_works_stops_with_grace_and_comes_back_with_its_data(
    machine: Machine, is_gone: Callable[[int], bool], eventually: Callable[..., None]
) -> None:
    with machine.up() as up:
        refused = machine.spawn()
        _, told = refused.communicate(timeout=60)
        assert refused.returncode == 1
        assert re.fullmatch(r"crewstream: .*in use by another instance.*\n", told)

        finished = await submitted(machine)
        assert finished.status is WorkflowStatus.COMPLETED
        assert await known_status(machine, finished.workflow_id) == "completed"
        assert await recorded_tasks(machine, finished.workflow_id) == TASKS

        assert "crewstream.workflow.state-value" in served_schemas(machine)

        family = up.family
        assert len(family) >= 6
        assert up.stop() == 0
        assert all(map(is_gone, family))
        assert "kafka: stopped" in up.told.read_text("utf-8")

    with machine.up() as up:
        assert await known_status(machine, finished.workflow_id) == "completed"
        assert await recorded_tasks(machine, finished.workflow_id) == TASKS

        machine.said("projects", "add", str(BROUGHT / "flowing"))
        machine.said("topics", "plan")  # fails where something differs
        brought = await submitted(machine, FLOW, within_s=TAKEN_UP_WITHIN_S)
        assert json.loads(brought.tasks[0].output)["leaf"] == "mint"

        family = up.family
        up.process.kill()
        eventually(lambda: all(map(is_gone, family)))


def test_a_port_in_use_is_one_sentence_and_nothing_is_left(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", machine.installation.ports.redis)):
        process = machine.spawn()
        _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"127.0.0.1:{machine.installation.ports.redis}: the port is in use" in told
    assert told.count("crewstream: ") == 1
    require_free(machine.installation.ports.kafka, "what came up beside it")
