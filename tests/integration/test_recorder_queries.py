"""Every ready-made query on data whose answers are known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
import pytest_asyncio

from crewstream.adapters.clickhouse import Analytics, connect
from crewstream.analytics import library
from crewstream.analytics.migrations import Place, migrate
from crewstream.contracts.codec import Codec
from crewstream.contracts.events import (
    Measured,
    MeasuredStatus,
    Operation,
    TaskState,
    TaskStatus,
    WorkflowState,
    WorkflowStatus,
)
from crewstream.contracts.schemas import Schemas
from crewstream.processors.recorder import Recorder, Topics
from crewstream.records import Inbound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

NOW = datetime.now(UTC)
OK, ERROR = MeasuredStatus.OK, MeasuredStatus.ERROR
SCHEMAS = Schemas.load()
CODEC = Codec(SCHEMAS)

BIZ: dict[str, Any] = {
    "tenant_id": "t1",
    "project_id": "bizoholic",
    "crew": "marketing",
    "workflow_id": "w1",
}
CORE: dict[str, Any] = {
    "tenant_id": "t2",
    "project_id": "coreldove",
    "crew": "ecommerce",
    "workflow_id": "w2",
}


def task(task_id: str, ms: float, attempt: int = 1, status: MeasuredStatus = OK) -> dict[str, Any]:
    return {
        "operation": Operation.TASK,
        "task_id": task_id,
        "duration_ms": ms,
        "attempt": attempt,
        "status": status,
        "error_type": "" if status == OK else "tool.failed",
    }


def chat(model: str, tokens_in: int, tokens_out: int, cost: str) -> dict[str, Any]:
    return {
        "operation": Operation.CHAT,
        "model": model,
        "input_tokens": tokens_in,
        "output_tokens": tokens_out,
        "cost_usd": Decimal(cost),
        "status": OK,
    }


def tool(ms: float, status: MeasuredStatus = OK) -> dict[str, Any]:
    return task("c", ms, 1, status) | {"operation": Operation.EXECUTE_TOOL, "tool": "funnel"}


def workflow(ms: float) -> dict[str, Any]:
    return {"operation": Operation.INVOKE_WORKFLOW, "duration_ms": ms, "status": OK}


def events() -> Iterator[Measured]:
    """Two workflows: three tasks, one of them at its second attempt; and a task of long ago."""
    strategist, analyst = BIZ | {"agent": "Strategist"}, CORE | {"agent": "Analyst"}
    told = [
        BIZ | workflow(6000),
        CORE | workflow(1000),
        strategist | task("a", 1000),
        strategist | task("b", 3000, 1, ERROR),
        strategist | task("b", 2000, 2),
        strategist | chat("m1", 100, 50, "0.001"),
        strategist | chat("m1", 200, 100, "0.002"),
        strategist | chat("m1", 10, 5, "0.0001"),
        strategist | chat("m1", 100, 50, "0.001") | {"replayed": True},
        analyst | task("c", 500),
        analyst | chat("m2", 1000, 500, "0.01"),
        *(analyst | tool(20) | {"attributes": {"cache": c}} for c in ("miss", "hit", "hit")),
        analyst | tool(100, ERROR),
    ]
    for number, event in enumerate(told, 1):
        at = NOW - timedelta(minutes=1)
        yield Measured(event_id=str(UUID(int=number)), occurred_at=at, **event)
    long_ago = NOW - timedelta(hours=30)
    old = analyst | task("old", 700) | {"workflow_id": "w0"}
    yield Measured(event_id=str(UUID(int=99)), occurred_at=long_ago, **old)


def states() -> Iterator[WorkflowState]:
    silent = NOW - timedelta(minutes=45)
    known = [
        ("w1", "bizoholic", WorkflowStatus.COMPLETED, NOW, TaskStatus.SUCCEEDED),
        ("w3", "bizoholic", WorkflowStatus.RUNNING, silent, TaskStatus.ASSIGNED),
        ("w4", "coreldove", WorkflowStatus.RUNNING, NOW, TaskStatus.ASSIGNED),
    ]
    for workflow_id, project, status, at, task_status in known:
        yield WorkflowState(
            workflow_id=workflow_id,
            tenant_id="t1",
            project_id=project,
            version=2,
            status=status,
            requested_at=silent,
            accepted_at=at,
            updated_at=at,
            tasks=(
                TaskState(
                    task_id="a", project_id=project, crew="c", task_type="x", status=task_status
                ),
                TaskState(task_id="b", project_id=project, crew="c", task_type="x"),
            ),
        )


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def analytics(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Analytics]:
    """A database with the data above; each measurement came twice."""
    async with connect(f"chdb://{tmp_path_factory.mktemp('queries')}/data") as found:
        await migrate(found, Place(found.database))
        recorder = Recorder(found, CODEC, SCHEMAS, Topics("metrics", "state", "dead"))
        feed = [
            *(("metrics", CODEC.encode(event)) for event in [*events(), *events()]),
            *(("state", CODEC.encode(state)) for state in states()),
        ]
        for offset, (topic, value) in enumerate(feed):
            assert not await recorder.record([[Inbound(topic, 0, offset, b"", value, (), 0)]])
        await found.command("SYSTEM REFRESH VIEW rollup_1h_refresh")
        await found.command("SYSTEM WAIT VIEW rollup_1h_refresh")
        yield found


async def answer(on: Analytics, name: str, **given: library.Value) -> list[dict[str, Any]]:
    found = await library.run(name, given, on)
    return [dict(zip(found.columns, row, strict=True)) for row in found.rows]


async def test_overview(analytics: Analytics) -> None:
    assert await answer(analytics, "overview") == [
        {
            "health": "excellent",
            "active_workflows": 2,
            "workflows": 2,
            "success_rate": 1.0,
            "mean_s": 3.5,
            "p95_s": 5.75,
            "tasks": 4,
            "tasks_succeeded": 3,
            "projects": 2,
            "agents": 2,
            "tokens": 1965,
            "cost_usd": Decimal("0.0131"),
        }
    ]


async def test_overview_of_one_tenant(analytics: Analytics) -> None:
    (found,) = await answer(analytics, "overview", tenant="t2")
    assert (found["workflows"], found["tasks"], found["active_workflows"]) == (1, 1, 0)


async def test_projects(analytics: Analytics) -> None:
    assert await answer(analytics, "projects") == [
        {
            "project_id": "bizoholic",
            "agent": "Strategist",
            "tasks": 2,
            "success_rate": 1.0,
            "mean_s": 2.0,
            "input_tokens": 310,
            "output_tokens": 155,
            "cost_usd": Decimal("0.0031"),
        },
        {
            "project_id": "coreldove",
            "agent": "Analyst",
            "tasks": 1,
            "success_rate": 1.0,
            "mean_s": 0.5,
            "input_tokens": 1000,
            "output_tokens": 500,
            "cost_usd": Decimal("0.01"),
        },
    ]


async def test_projects_over_a_longer_time(analytics: Analytics) -> None:
    _, analyst = await answer(analytics, "projects", hours=48)
    assert (analyst["tasks"], analyst["mean_s"]) == (2, 0.6)


async def test_agents(analytics: Analytics) -> None:
    best, worst = await answer(analytics, "agents")
    assert (best["agent"], best["completion_rate"], best["retry_rate"]) == ("Analyst", 1.0, 0.0)
    assert worst == {
        "project_id": "bizoholic",
        "agent": "Strategist",
        "attempts": 3,
        "completion_rate": 0.6667,
        "first_try_rate": 0.5,
        "retry_rate": 0.3333,
        "mean_s": 2.0,
        "p95_s": 2.9,
        "cost_usd": Decimal("0.0031"),
        "cost_per_success_usd": 0.00155,
    }


async def test_trend_by_hour(analytics: Analytics) -> None:
    hours = await answer(analytics, "trend_hour", hours=48)
    assert len(hours) == 49, "hours in which nothing ran are there too"
    assert sum(hour["tasks"] for hour in hours) == 5
    assert sum(hour["cost_usd"] for hour in hours) == Decimal("0.0131")
    (long_ago,) = [hour for hour in hours if hour["mean_s"] == 0.7]
    assert (long_ago["tasks"], long_ago["success_rate"]) == (1, 1.0)


async def test_cost(analytics: Analytics) -> None:
    dear, cheap = await answer(analytics, "cost")
    assert (dear["model"], dear["cost_usd"], dear["share"]) == ("m2", Decimal("0.01"), 0.7634)
    assert cheap == {
        "tenant_id": "t1",
        "project_id": "bizoholic",
        "model": "m1",
        "calls": 3,
        "replayed_calls": 1,
        "input_tokens": 310,
        "output_tokens": 155,
        "cost_usd": Decimal("0.0031"),
        "share": 0.2366,
    }


async def test_tools(analytics: Analytics) -> None:
    (found,) = await answer(analytics, "tools")
    assert found == {
        "project_id": "coreldove",
        "tool": "funnel",
        "calls": 4,
        "success_rate": 0.75,
        "replayed_calls": 0,
        "refused_calls": 0,
        "cache_hits": 2,
        "hit_rate": 0.6667,
        "mean_ms": 60.0,  # of those that were made
        "p95_ms": 96.0,
        "agents": ["Analyst"],
    }


async def test_errors(analytics: Analytics) -> None:
    found = await answer(analytics, "errors")
    assert [(e["operation"], e["error_type"], e["errors"], e["share"]) for e in found] == [
        ("execute_tool", "tool.failed", 1, 0.5),
        ("task", "tool.failed", 1, 0.5),
    ]
    assert [e["seen_at"] for e in found] == [["funnel"], ["Strategist"]]


async def test_workflows(analytics: Analytics) -> None:
    found = await answer(analytics, "workflows", project="bizoholic")
    assert [(w["workflow_id"], w["status"], w["tasks_succeeded"], w["tasks_total"]) for w in found]
    assert [w["workflow_id"] for w in found] == ["w1", "w3"]
    assert [w["tasks_succeeded"] for w in found] == [1, 0]
    assert await answer(analytics, "workflows", status="failed") == []
    assert len(await answer(analytics, "workflows", limit=1)) == 1


async def test_stuck(analytics: Analytics) -> None:
    (found,) = await answer(analytics, "stuck")
    assert (found["workflow_id"], found["open_tasks"]) == ("w3", ["a"])
    idle_minutes = 45 + (datetime.now(UTC) - NOW).total_seconds() / 60
    assert found["idle_minutes"] == pytest.approx(idle_minutes, abs=1.5)
    assert await answer(analytics, "stuck", minutes=24 * 60) == []


async def test_sink_lag(analytics: Analytics) -> None:
    (found,) = await answer(analytics, "sink_lag")
    assert (found["topic"], found["partition"], found["rows_recorded"]) == ("metrics", 0, 16)
    assert found["last_offset"] == 31
