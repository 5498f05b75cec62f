"""A database and a log from before version 2 of WorkflowState: nothing of them is lost."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from crewstream.adapters.clickhouse import Analytics, connect
from crewstream.analytics.migrations import Place, migrate, migrations
from crewstream.contracts.codec import Codec
from crewstream.contracts.events import (
    Admission,
    Awaited,
    Required,
    TaskState,
    TaskStatus,
    WorkflowState,
    WorkflowStatus,
)
from crewstream.contracts.schemas import Schemas
from crewstream.processors.recorder import Recorder, Topics
from crewstream.records import Inbound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.integration

TODAY = Schemas.load()
BEFORE = replace(
    TODAY,
    current={**TODAY.current, "WorkflowState": TODAY.history["WorkflowState"][0]},
    by_id={
        known: one
        for known, one in TODAY.by_id.items()
        if (one.record, one.version) < ("WorkflowState", 2) or one.record > "WorkflowState"
    },
)
TOPICS = Topics("metrics", "state", "dead")
NOW = datetime.now(UTC).replace(microsecond=123456)
AFTER = Awaited(workflow_id="v", required=Required.ENDED, status=WorkflowStatus.FAILED)


@pytest.fixture
async def analytics(tmp_path: Path) -> AsyncIterator[Analytics]:
    async with connect(f"chdb://{tmp_path}/data") as found:
        yield found


def transition(schemas: Schemas, offset: int) -> Inbound:
    """A record of the state feed as the product that had `schemas` wrote it."""
    task = TaskState(
        task_id="a",
        project_id="p",
        crew="c",
        task_type="x",
        status=TaskStatus.ASSIGNED,
        depends_on=("b",),
        concurrency_key="k",
        journal_attempt=3,
    )
    state = WorkflowState(
        workflow_id=f"w{offset}",
        tenant_id="t",
        project_id="p",
        version=1,
        requested_at=NOW,
        accepted_at=NOW + timedelta(seconds=offset),
        updated_at=NOW,
        tasks=(task,),
        after=(AFTER,),
        not_before=NOW,
        admission=Admission.GRANTED,
        max_tokens=7,
        max_cost_usd=Decimal("1.5"),
        payloads={"": b"\x00request", "a": b"\xff" * 300},
    )
    value = Codec(schemas).encode(state)
    return Inbound("state", 0, offset, b"k", value, (), int(NOW.timestamp() * 1000))


async def test_old_and_new_records_of_a_partition_stand_side_by_side(analytics: Analytics) -> None:
    await migrate(analytics, Place(analytics.database))
    recorder = Recorder(analytics, Codec(TODAY), TODAY, TOPICS)
    log = [transition(BEFORE if n % 2 else TODAY, n) for n in range(6)]

    assert await recorder.record([log]) == []
    assert await recorder.record([log[1:3]]) == [], "and again, cut otherwise"

    found = await analytics.query(
        "SELECT _offset, status, tasks.depends_on, tasks.concurrency_key, tasks.journal_attempt,"
        " after.workflow_id, after.status, not_before, admission, max_tokens, max_cost_usd"
        " FROM v_transitions ORDER BY _offset"
    )
    tasks = [["b"]]
    new: tuple[object, ...] = (
        tasks,
        ["k"],
        [3],
        ["v"],
        ["failed"],
        NOW,
        "granted",
        7,
        Decimal("1.5"),
    )
    old: tuple[object, ...] = (tasks, [""], [0], [], [], None, "unlimited", 0, Decimal(0))
    expected = [(n, "unknown", *(old if n % 2 else new)) for n in range(6)]
    assert [tuple(row) for row in found.rows] == expected


async def test_rows_from_before_are_kept_and_the_views_show_what_is_new(
    analytics: Analytics,
) -> None:
    place = Place(analytics.database)
    await migrate(analytics, place, migrations()[:4])
    await Recorder(analytics, Codec(BEFORE), BEFORE, TOPICS).record([[transition(BEFORE, 1)]])

    assert "0005_waits_and_limits" in await migrate(analytics, place)
    recorder = Recorder(analytics, Codec(TODAY), TODAY, TOPICS)
    assert await recorder.record([[transition(TODAY, 2)]]) == []

    for view in ("transitions", "v_transitions", "workflows"):
        columns = "workflow_id, admission, max_tokens, length(after), tasks.concurrency_key"
        found = await analytics.query(f"SELECT {columns} FROM {view} ORDER BY workflow_id")  # noqa: S608 - names of ours
        assert found.rows == [("w1", "unlimited", 0, 0, [""]), ("w2", "granted", 7, 1, ["k"])], view


async def test_a_migration_that_died_half_way_runs_again(analytics: Analytics) -> None:
    place = Place(analytics.database)
    await migrate(analytics, place, migrations()[:4])
    altering, *_ = migrations()[4].statements(place)
    await analytics.command(altering)
    await migrate(analytics, place)
    assert "after" in await analytics.columns("v_transitions")


@pytest.mark.parametrize("died_after", [0, 1, 2, 3, 4])
async def test_events_of_the_old_layout_are_in_the_new_one_wherever_the_move_died(
    analytics: Analytics, died_after: int
) -> None:
    place = Place(analytics.database)
    (layout,) = [each for each in migrations() if each.name.endswith("_layout")]
    earlier = [each for each in migrations() if each.name < layout.name]
    await migrate(analytics, place, earlier)
    await analytics.command(
        "INSERT INTO events (event_id, occurred_at, workflow_id) SELECT generateUUIDv4(),"
        " now64(6) - toIntervalHour(number), toString(number) FROM numbers(100)"
    )
    await analytics.command(
        "INSERT INTO transitions (workflow_id, version, status, accepted_at, updated_at)"
        " SELECT 'w', number + 1, toString(number), now64(6), now64(6) FROM numbers(3)"
    )
    for statement in layout.statements(place)[:died_after]:
        await analytics.command(statement)

    await migrate(analytics, place)

    found = await analytics.query("SELECT count(), uniqExact(workflow_id) FROM v_events")
    assert found.rows == [(100, 100)]
    parts = "SELECT uniqExact(partition) FROM system.parts WHERE active AND table = 'events'"
    assert (await analytics.query(parts)).rows[0][0] >= 4
    left = "SELECT count() FROM system.tables WHERE name LIKE '%_relaid'"
    assert (await analytics.query(left)).rows == [(0,)]
    assert (await analytics.query("SELECT status, version FROM workflows")).rows == [("2", 3)]
