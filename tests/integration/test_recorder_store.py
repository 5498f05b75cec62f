"""The recorder on the real engine: exact after replays, and only the bad records left out."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from crewstream.adapters.clickhouse import Analytics, Refused, connect
from crewstream.analytics import reader
from crewstream.analytics.migrations import ChangedMigration, Migration, Place, migrate, migrations
from crewstream.contracts.codec import Codec
from crewstream.contracts.events import (
    Failure,
    Measured,
    Operation,
    TaskState,
    TaskStatus,
    Usage,
    WorkflowState,
    WorkflowStatus,
)
from crewstream.contracts.schemas import Schemas
from crewstream.errors import Unreachable
from crewstream.processors.recorder import Recorder, Topics
from crewstream.records import Inbound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.integration

SCHEMAS = Schemas.load()
CODEC = Codec(SCHEMAS)
TOPICS = Topics("metrics", "state", "dead")
NOW = datetime.now(UTC).replace(microsecond=123456)


@pytest.fixture
async def analytics(tmp_path: Path) -> AsyncIterator[Analytics]:
    async with connect(f"chdb://{tmp_path}/data") as found:
        await migrate(found, Place(found.database))
        yield found


@pytest.fixture
def recorder(analytics: Analytics) -> Recorder:
    return Recorder(analytics, CODEC, SCHEMAS, TOPICS)


def measured(number: int, event_id: str | None = None) -> bytes:
    return CODEC.encode(
        Measured(
            event_id=event_id or str(UUID(int=number)),
            occurred_at=NOW - timedelta(hours=number % 50),
            tenant_id=f"t{number % 3}",
            project_id="p",
            operation=Operation.CHAT,
            input_tokens=number,
            cost_usd=Decimal(number).scaleb(-9),
            attributes={"n": str(number)},
        )
    )


def inbound(value: bytes, offset: int, topic: str = "metrics") -> Inbound:
    return Inbound(topic, 0, offset, b"k", value, (), int(NOW.timestamp() * 1000))


async def test_replays_of_any_cut_leave_no_trace(analytics: Analytics, recorder: Recorder) -> None:
    await analytics.command("SYSTEM STOP MERGES")
    log = [inbound(measured(n), n) for n in range(2000)]
    rnd = random.Random(7)
    for _ in range(4):
        start = rnd.randrange(1000)
        while start < len(log):
            end = start + rnd.randrange(1, 700)
            assert await recorder.record([log[start:end]]) == []
            start = end
    await recorder.record([log])
    found = await analytics.query(
        "SELECT count(), sum(cost_usd), sum(input_tokens), uniqExact(_offset) FROM events"
    )
    total = sum(range(2000))
    assert found.rows == [(2000, Decimal(total).scaleb(-9), total, 2000)]
    plain = await analytics.raw("SELECT count() FROM events SETTINGS final = 0")
    assert int(plain) > 2000, "the replays were other inserts, and FINAL collapsed them"


async def test_values_arrive_as_they_were(analytics: Analytics, recorder: Recorder) -> None:
    await recorder.record([[inbound(measured(41), 5)]])
    found = await analytics.query(
        "SELECT event_id, occurred_at, cost_usd, attributes, duration_ms, _topic, _partition,"
        " _offset FROM v_events"
    )
    at = NOW - timedelta(hours=41)
    cost = Decimal("0.000000041")
    assert found.rows == [(UUID(int=41), at, cost, {"n": "41"}, None, "metrics", 0, 5)]


async def test_bad_records_become_rows_of_dead_letters(
    analytics: Analytics, recorder: Recorder
) -> None:
    values = [measured(n) for n in range(40)]
    values[3] = values[3][:-4]
    values[9] = b"junk"
    values[20] = measured(20, event_id="no uuid")
    dead = await recorder.record([[inbound(value, n) for n, value in enumerate(values)]])
    assert len(dead) == 3
    back = [
        Inbound("dead", 0, n, d.key, d.value, d.headers, int(NOW.timestamp() * 1000))
        for n, d in enumerate(dead)
    ]
    await recorder.record([back])
    await recorder.record([back])
    stored = await analytics.query("SELECT count() FROM v_events")
    assert stored.rows == [(37,)]
    letters = await analytics.query(
        "SELECT offset, error_type, payload FROM v_dead_letters ORDER BY offset"
    )
    assert [(row[0], row[1]) for row in letters.rows] == [
        (3, "Undecodable"),
        (9, "Undecodable"),
        (20, "Refused"),
    ]


async def test_a_workflow_is_listed_in_its_latest_state(
    analytics: Analytics, recorder: Recorder
) -> None:
    def state(version: int, status: WorkflowStatus, task: TaskStatus) -> bytes:
        failure = Failure(error_type="tool.failed", message="no")
        return CODEC.encode(
            WorkflowState(
                workflow_id="w",
                tenant_id="t",
                project_id="p",
                version=version,
                status=status,
                requested_at=NOW,
                accepted_at=NOW,
                updated_at=NOW + timedelta(seconds=version),
                ended_at=NOW + timedelta(seconds=5) if version == 2 else None,
                failure=failure if version == 2 else None,
                usage=Usage(cost_usd=Decimal("0.5")),
                tasks=(
                    TaskState(
                        task_id="a",
                        project_id="p",
                        crew="c",
                        task_type="x",
                        status=task,
                        assigned_at=NOW,
                        depends_on=("b",),
                    ),
                ),
            )
        )

    first = inbound(state(1, WorkflowStatus.RUNNING, TaskStatus.ASSIGNED), 0, "state")
    last = inbound(state(2, WorkflowStatus.FAILED, TaskStatus.FAILED), 1, "state")
    await recorder.record([[first, last]])
    await recorder.record([[first]])
    found = await analytics.query(
        "SELECT status, duration_s, tasks_failed, error_type, cost_usd, tasks.depends_on,"
        " tasks.assigned_at FROM workflows"
    )
    assert found.rows == [("failed", 5.0, 1, "tool.failed", Decimal("0.5"), [["b"]], [NOW])]
    assert (await analytics.query("SELECT count() FROM transitions")).rows == [(2,)]


async def test_a_missing_table_is_waited_for(tmp_path: Path) -> None:
    async with connect(f"chdb://{tmp_path}/data") as empty:
        recorder = Recorder(empty, CODEC, SCHEMAS, TOPICS)
        with pytest.raises(Unreachable, match=r"no table crewstream\.events"):
            await recorder.record([[inbound(measured(1), 0)]])


async def test_no_server_is_an_outage() -> None:
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9"):
        async with connect("http://127.0.0.1:9"):
            pass


async def test_a_wrong_query_is_refused_in_clickhouses_words(analytics: Analytics) -> None:
    with pytest.raises(Refused, match="Unknown expression identifier") as caught:
        await analytics.query("SELECT nope")
    assert caught.value.code == 47


async def test_large_results_come_in_blocks(analytics: Analytics) -> None:
    sizes = [
        len(block.rows)
        async for block in analytics.blocks(
            "SELECT number AS n FROM numbers({n:UInt32})", {"n": 200_000}
        )
    ]
    assert len(sizes) > 1
    assert sum(sizes) == 200_000


async def test_migrations_run_once_and_never_change(analytics: Analytics) -> None:
    place = Place(analytics.database)
    assert await migrate(analytics, place) == []
    first, *rest = migrations()
    changed = [Migration(first.name, first.sql + " "), *rest]
    with pytest.raises(ChangedMigration, match=first.name):
        await migrate(analytics, place, changed)


async def test_the_tables_of_a_cluster_parse(analytics: Analytics) -> None:
    sql = "SELECT formatQuerySingleLine({statement:String})"
    place = Place("prod", "main")
    statements = [each for migration in migrations() for each in migration.statements(place)]
    for statement in [*statements, *reader.statements(place, "analyst", "secret")]:
        (row,) = (await analytics.query(sql, {"statement": statement})).rows
        parsed = str(row[0])
        # A row that is copied goes to the other replicas by itself.
        assert "ON CLUSTER main" in parsed or parsed.startswith("INSERT INTO prod.")
        assert "MergeTree" not in parsed or "'{replica}'" in parsed
