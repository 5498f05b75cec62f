"""Recurring schedules on real Kafka: missed times, kills of the coordinator, the command line."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, aclosing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from crewstream import Client, topology
from crewstream.adapters import kafka as admin
from crewstream.app import describe_projects
from crewstream.contracts.connection import KafkaConnection
from crewstream.contracts.events import (
    CrewDescribed,
    Missed,
    ScheduleDefined,
    ScheduleState,
    TaskDescribed,
    WorkflowStatus,
)
from crewstream.contracts.partitioning import partition_for
from crewstream.contracts.topics import Topics
from crewstream.domain import cron, schedule
from crewstream.embedded.owned import OwnedProcess, spawn
from support.installation import PARTITIONS, PATIENCE_S, Installation, started
from support.lanes import SLOW
from support.requested import CODEC, CREWS, PROJECT, task

if TYPE_CHECKING:
    from support.servers import Brokers

pytestmark = [
    pytest.mark.integration,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(120),
]

REQUEST = {"tenant_id": "acme", "tasks": [task("a", description="hello")]}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(
    kafka: Brokers, valkey: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    folder = tmp_path_factory.mktemp("schedules")
    async with started(kafka.bootstrap, valkey, folder) as running:
        yield running


def definition(name: str, ago: timedelta, **fields: Any) -> ScheduleDefined:
    """An hourly schedule that has been missed since then."""
    given: dict[str, Any] = {
        "schedule_id": name,
        "project_id": PROJECT,
        "cron": "0 * * * *",
        "missed": Missed.ALL,
        "request": json.dumps(REQUEST),
        "defined_at": datetime.now(UTC) - ago,
    }
    return ScheduleDefined(**given | fields)


def dues(event: ScheduleDefined) -> list[str]:
    """The ids of all that a definition has missed until now."""
    found: list[str] = []
    at = cron.following(event.cron, event.timezone, event.defined_at)
    while at is not None and at <= datetime.now(UTC):
        found.append(schedule.workflow_id(event.schedule_id, at))
        at = cron.following(event.cron, event.timezone, at)
    return found


async def eventually(
    holds: Callable[[], Awaitable[bool]], what: str, within_s: float = PATIENCE_S
) -> None:
    try:
        async with asyncio.timeout(within_s):
            while not await holds():  # noqa: ASYNC110 - of other processes
                await asyncio.sleep(0.2)
    except TimeoutError:
        pytest.fail(f"{what} within {within_s:g} s")


async def row(client: Client, name: str) -> ScheduleState | None:
    return next((each for each in await client.schedules() if each.schedule_id == name), None)


# -- one coordinator -------------------------------------------------------------------------------


async def test_all_that_was_missed_runs_once_and_the_row_says_what_is_next(
    here: Installation,
) -> None:
    event = definition("hourly", timedelta(hours=5))
    await here.client.define(event)
    await here.client.define(event.changed({"defined_at": datetime.now(UTC)}))
    for workflow_id in dues(event):
        finished = await here.ended(workflow_id)
        assert (finished.status, finished.tenant_id) == (WorkflowStatus.COMPLETED, "acme")
    state = await row(here.client, "hourly")
    assert state is not None
    assert state.last_workflow_id in dues(event)
    assert state.next_due_at is not None
    assert state.next_due_at > datetime.now(UTC) - timedelta(minutes=1)
    assert [here.results_of(each) for each in dues(event)] == [1] * len(dues(event))


async def test_a_definition_in_the_wrong_place_takes_one_more_hop(here: Installation) -> None:
    name = next(n for n in (f"far{i}" for i in range(99)) if _home(n) != 3)
    value = CODEC.encode(definition(name, timedelta(0)))
    await here.produce(topology.SCHEDULES, value, b"whatever", partition=3)

    async def there() -> bool:
        return await row(here.client, name) is not None

    await eventually(there, f"{name} was not taken")


async def test_a_bad_definition_is_a_dead_letter_that_says_why(here: Installation) -> None:
    event = definition("odd", timedelta(0), cron="0 25 * * *", project_id="mars")
    key = schedule.row_of("odd").encode()
    place = await here.produce(topology.SCHEDULES, CODEC.encode(event), key)
    told = {
        name: (value or b"").decode()
        for name, value in (await here.letter(place)).headers
        if name.startswith("x-dlq")
    }
    assert told["x-dlq-error-type"] == "InvalidSchedule"
    assert "cron: '0 25 * * *': bad hour" in told["x-dlq-error"]
    assert "request.project_id: 'mars' is not known" in told["x-dlq-error"]


def _home(name: str) -> int:
    return partition_for(schedule.row_of(name).encode(), PARTITIONS)


# -- the command line ------------------------------------------------------------------------------


async def crewstream(here: Installation, *arguments: str) -> Any:
    """Run the command line against the installation; its JSON, if it wrote any."""
    environment = {
        **os.environ,
        "CREWSTREAM_PREFIX": here.topics.prefix,
        "CREWSTREAM_KAFKA_BOOTSTRAP": here.connection.bootstrap,
        "CREWSTREAM_TENANT": "acme",
    }
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "crewstream", "schedule", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if "--json" in arguments else done.stdout


async def test_schedules_are_added_listed_and_removed(here: Installation, tmp_path: Path) -> None:
    file = tmp_path / "request.json"
    file.write_text(json.dumps({"project_id": PROJECT, **REQUEST}))
    times = ("--cron", "0 2 * * *", "--timezone", "Europe/London", "--missed", "skip")
    await crewstream(here, "add", "nightly", str(file), *times)

    async def taken() -> bool:
        return await row(here.client, "nightly") is not None

    await eventually(taken, "the schedule was not taken")
    listed = {each["schedule_id"]: each for each in await crewstream(here, "list", "--json")}
    assert (listed["nightly"]["timezone"], listed["nightly"]["missed"]) == ("Europe/London", "skip")
    assert "nightly" in await crewstream(here, "list")
    await crewstream(here, "remove", "nightly")

    async def gone() -> bool:
        return await row(here.client, "nightly") is None

    await eventually(gone, "the schedule was not removed")


async def test_the_schedules_of_a_folder_are_applied_and_what_has_no_file_goes(
    here: Installation,
) -> None:
    await _announce_the_crews(here)
    gone = definition(f"{PROJECT}.gone", timedelta(0), cron="0 0 1 1 *")
    await here.client.define(gone)

    async def there() -> bool:
        return await row(here.client, gone.schedule_id) is not None

    await eventually(there, "the schedule without a file was not taken")
    planned = await crewstream(here, "apply", PROJECT, "--dry-run", "--json")
    assert {"what": "remove", "schedule_id": gone.schedule_id} in planned
    assert await crewstream(here, "apply", PROJECT, "--json") == planned

    async def applied() -> bool:
        names = [each.schedule_id for each in await here.client.schedules()]
        of_folder = [name for name in names if name.startswith(f"{PROJECT}.")]
        return of_folder == [f"{PROJECT}.monday-performance"]

    await eventually(applied, "the folder's schedules are not those that stand")
    assert await crewstream(here, "apply", PROJECT, "--json") == []


async def _announce_the_crews(here: Installation) -> None:
    """Those of the project's folder, beside the one that this installation has."""
    (found,) = [each for each in describe_projects() if each.project_id == PROJECT]
    real = tuple(
        CrewDescribed(
            crew=crew.crew,
            description="",
            tasks=tuple(
                TaskDescribed(task_type=t.task_type, description="", expected_output="", agent="a")
                for t in crew.tasks
            ),
        )
        for crew in found.crews
    )
    both = CREWS.changed({"crews": (*CREWS.crews, *real)})
    await here.produce(topology.CATALOGUE, CODEC.encode(both), PROJECT.encode())


# -- kills -----------------------------------------------------------------------------------------


@SLOW
@pytest.mark.timeout(300)
async def test_a_coordinator_that_is_killed_asks_for_nothing_twice_and_leaves_nothing_out(
    kafka: Brokers, valkey: str, tmp_path: Path
) -> None:
    """Four hours of minutes, in portions; the coordinator dies between and within them."""
    prefix = f"t{uuid.uuid4().hex[:8]}"
    topics, connection = Topics.load(prefix=prefix, replicas=1), KafkaConnection(kafka.bootstrap)
    await admin.apply(await admin.plan(topics, connection), connection)
    environment = {
        **os.environ,
        "CREWSTREAM_PREFIX": prefix,
        "CREWSTREAM_KAFKA_BOOTSTRAP": kafka.bootstrap,
        "CREWSTREAM_REDIS_URL": valkey,
        "CREWSTREAM_DATA_DIR": str(tmp_path),
        "CREWSTREAM_REPLICAS": "1",
        "CREWSTREAM_WORKER_RUNS": "echo",
        "CREWSTREAM_HTTP_PORT": "0",
    }

    def process(verb: str) -> OwnedProcess:
        argv = [sys.executable, "-m", "crewstream", verb]
        owned = spawn(verb, argv, log_file=tmp_path / f"{verb}.log", env=environment)
        running.callback(owned.kill)
        return owned

    event = definition("minutely", timedelta(hours=4), cron="* * * * *")
    with ExitStack() as running:
        process("worker")
        coordinator = process("coordinator")
        async with Client(kafka.bootstrap, prefix=prefix, tenant="acme") as client:
            await client.define(event)
            ended: Counter[str] = Counter()
            following = asyncio.create_task(_count_results(client, ended))
            for enough in (1, 120):
                some = partial(_as_many, ended, enough)
                await eventually(some, f"no {enough} workflows ended", within_s=90)
                coordinator.kill()
                coordinator = process("coordinator")
            wanted = dues(event)

            async def all_ended() -> bool:
                return ended.keys() >= set(wanted)

            await eventually(all_ended, "not all that was missed ended", within_s=90)
            following.cancel()
    assert {name: n for name, n in ended.items() if n != 1} == {}
    assert ended.keys() <= set(dues(event))


async def _count_results(client: Client, ended: Counter[str]) -> None:
    async with aclosing(client.results(PROJECT, start="beginning")) as results:
        async for finished in results:
            ended[finished.workflow_id] += 1


async def _as_many(ended: Counter[str], enough: int) -> bool:
    return len(ended) >= enough
