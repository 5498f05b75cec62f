"""Every ready-made query on data whose answers are known."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
import pytest_asyncio

from crewstream.adapters.clickhouse import Analytics, connect
from crewstream.analytics import library, rules
from crewstream.analytics.migrations import Place, migrate
from crewstream.cli import main as cli
from crewstream.contracts.codec import Codec
from crewstream.contracts.events import (
    Measured,
    MeasuredStatus,
    Operation,
    TaskState,
    TaskStatus,
    Usage,
    WorkflowState,
    WorkflowStatus,
)
from crewstream.contracts.schemas import Schemas
from crewstream.embedded.clickhouse import ClickHouseFace
from crewstream.processors.recorder import Recorder, Topics
from crewstream.records import Inbound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

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
    "worker": "one",
}
CORE: dict[str, Any] = {
    "tenant_id": "t2",
    "project_id": "coreldove",
    "crew": "ecommerce",
    "workflow_id": "w2",
    "worker": "two",
}


def task(task_id: str, ms: float, attempt: int = 1, status: MeasuredStatus = OK) -> dict[str, Any]:
    return {
        "operation": Operation.TASK,
        "task_id": task_id,
        "duration_ms": ms,
        "queue_ms": ms / 10,
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
        "cached_tokens": tokens_in // 4,
        "cost_usd": Decimal(cost),
        "duration_ms": 1000.0,
        "status": OK,
    }


def alert(spent: str, limit: str) -> dict[str, Any]:
    attributes = {"account": "tenant:t1:2026-01", "unit": "usd", "level": "soft"}
    return {
        "operation": Operation.BUDGET,
        "status": OK,
        "attributes": attributes | {"spent": spent, "limit": limit},
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
        strategist | task("a", 1000) | {"task_type": "plan"},
        strategist | task("b", 3000, 1, ERROR) | {"task_type": "write"},
        strategist | task("b", 2000, 2) | {"task_type": "write"},
        strategist | chat("m1", 100, 50, "0.001"),
        strategist | chat("m1", 200, 100, "0.002"),
        strategist | chat("m1", 10, 5, "0.0001"),
        strategist | chat("m1", 0, 0, "0") | {"replayed": True},
        analyst | task("c", 500),
        analyst | chat("m2", 1000, 500, "0.01") | {"attributes": {"price": "unknown"}},
        BIZ | alert("9.5", "10"),
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
            usage=Usage(input_tokens=300, output_tokens=100, cost_usd=Decimal("0.25")),
            max_tokens=500 if workflow_id == "w3" else 0,
            max_cost_usd=Decimal(1) if workflow_id == "w3" else Decimal(0),
        )
    yield diamond()


def diamond() -> WorkflowState:
    """A of 10 s, then b of 5 s and c of 20 s (after 2 s of waiting), then d of 1 s after both."""
    began = NOW - timedelta(minutes=10)

    def ran(task_id: str, start_s: float, end_s: float, *after: str) -> TaskState:
        return TaskState(
            task_id=task_id,
            project_id="coreldove",
            crew="c",
            task_type="x",
            status=TaskStatus.SUCCEEDED,
            depends_on=after,
            assigned_at=began + timedelta(seconds=start_s),
            finished_at=began + timedelta(seconds=end_s),
        )

    tasks = (
        ran("d", 32, 33, "b", "c"),
        ran("b", 10, 15, "a"),
        ran("c", 10, 32, "a"),
        ran("a", 0, 10),
    )
    return WorkflowState(
        workflow_id="w5",
        tenant_id="t2",
        project_id="coreldove",
        version=9,
        status=WorkflowStatus.COMPLETED,
        requested_at=began,
        accepted_at=began,
        updated_at=began + timedelta(seconds=33),
        ended_at=began + timedelta(seconds=33),
        tasks=tasks,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("queries") / "data"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def analytics(folder: Path) -> AsyncIterator[Analytics]:
    """A database with the data above; each measurement came twice."""
    async with connect(f"chdb://{folder}") as found:
        await migrate(found, Place(found.database))
        recorder = Recorder(found, CODEC, SCHEMAS, Topics("metrics", "state", "dead"))
        feed = [
            *(("metrics", CODEC.encode(event)) for event in [*events(), *events()]),
            *(("state", CODEC.encode(state)) for state in states()),
        ]
        for offset, (topic, value) in enumerate(feed):
            assert not await recorder.record([[Inbound(topic, 0, offset, b"", value, (), 0)]])
        await rolled_up(found)
        yield found


async def rolled_up(on: Analytics) -> None:
    for rollup in ("rollup_1h", "rollup_1d"):
        await on.command(f"SYSTEM REFRESH VIEW {rollup}_refresh")
        await on.command(f"SYSTEM WAIT VIEW {rollup}_refresh")


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
            "tasks_at_once": 0.000075,
            "utilisation": 0.000019,
        }
    ]


async def test_utilisation_is_of_the_most_at_once_or_of_the_slots_that_there_are(
    analytics: Analytics,
) -> None:
    """6.5 s of tasks in an hour; at the end four ran at once."""
    (found,) = await answer(analytics, "overview", hours=1)
    assert (found["tasks_at_once"], found["utilisation"]) == (0.001806, 0.000452)
    (found,) = await answer(analytics, "overview", hours=1, slots=1)
    assert found["utilisation"] == 0.001806


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
        "efficiency": 0.5,
        "cost_usd": Decimal("0.0031"),
        "cost_per_task_usd": 0.001033,
        "cost_per_success_usd": 0.00155,
    }


async def test_agents_by_kind_of_task(analytics: Analytics) -> None:
    plan, write = await answer(analytics, "agents_by_task")
    assert (plan["task_type"], plan["completion_rate"], plan["efficiency"]) == ("plan", 1.0, 1.0)
    assert (write["task_type"], write["attempts"], write["first_try_rate"]) == ("write", 2, 0.0)
    assert (write["completion_rate"], write["efficiency"]) == (0.5, 0.4)


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
        "succeeded_tasks": 2,
        "cost_per_success_usd": 0.00155,
    }


async def test_cost_by_day(analytics: Analytics) -> None:
    days = await answer(analytics, "cost_day", days=3)
    assert len(days) == 4
    assert sum(day["cost_usd"] for day in days) == Decimal("0.0131")
    assert days[-1]["cost_so_far_usd"] == Decimal("0.0131")
    assert sum(day["succeeded_tasks"] for day in days) == 4


async def test_language_models(analytics: Analytics) -> None:
    found = await answer(analytics, "llm")
    assert [(m["model"], m["calls"], m["replayed_calls"]) for m in found] == [
        ("m1", 3, 1),
        ("m2", 1, 0),
    ]
    cheap, dear = found
    assert (cheap["cache_hit_rate"], cheap["output_tokens_per_s"]) == (0.2484, 51.7)
    assert (cheap["usd_per_million_tokens"], cheap["error_rate"]) == (6.6667, 0.0)
    assert (cheap["unpriced_calls"], dear["unpriced_calls"]) == (0, 1)


async def test_replayed_calls_saved_what_calls_of_their_model_cost(analytics: Analytics) -> None:
    (found,) = await answer(analytics, "replayed")
    assert (found["called"], found["calls"], found["replayed_calls"]) == ("m1", 3, 1)
    assert (found["tokens_not_paid"], found["saved_usd"]) == (155.0, 0.001033)


async def test_queue(analytics: Analytics) -> None:
    slow, _ = await answer(analytics, "queue", hours=1)
    assert (slow["project_id"], slow["attempts"], slow["longest_wait_s"]) == ("bizoholic", 3, 0.3)
    assert (slow["mean_wait_s"], slow["p50_wait_s"], slow["p95_wait_s"]) == (0.2, 0.2, 0.29)
    assert (slow["waiting_share"], slow["most_at_once"]) == (0.0909, 3)
    assert (slow["at_once"], slow["utilisation"]) == (0.001667, 0.000556)


async def test_workers(analytics: Analytics) -> None:
    one, two = await answer(analytics, "workers", hours=1, slots=2)
    assert (one["worker"], one["attempts"], one["success_rate"]) == ("one", 3, 0.6667)
    assert (one["utilisation"], two["utilisation"]) == (0.000834, 0.00007)
    assert one["last_seen"] == NOW - timedelta(minutes=1)


async def test_the_critical_path_is_the_longest_chain(analytics: Analytics) -> None:
    (found,) = await answer(analytics, "critical_paths")
    assert found["workflow_id"] == "w5"
    assert (found["critical_path"], found["task_s"]) == (["a", "c", "d"], [10.0, 22.0, 1.0])
    assert (found["critical_path_s"], found["duration_s"], found["share"]) == (33.0, 33.0, 1.0)


async def test_budgets(analytics: Analytics) -> None:
    (found,) = await answer(analytics, "budgets")
    assert (found["workflow_id"], found["tokens_share"], found["cost_share"]) == ("w3", 0.8, 0.25)
    assert found["used"] == 0.8


async def test_budget_alerts(analytics: Analytics) -> None:
    (found,) = await answer(analytics, "budget_alerts")
    assert (found["account"], found["level"]) == ("tenant:t1:2026-01", "soft")
    assert (found["spent"], found["most"], found["used"]) == (9.5, 10.0, 0.95)


async def test_retry_storms(analytics: Analytics) -> None:
    assert await answer(analytics, "retry_storms") == []
    (found,) = await answer(analytics, "retry_storms", at_least=1)
    assert (found["project_id"], found["attempts"], found["retries"]) == ("bizoholic", 3, 1)
    assert (found["retry_share"], found["error_types"]) == (0.3333, ["tool.failed"])


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
    assert (found["topic"], found["partition"], found["rows_recorded"]) == ("metrics", 0, 17)
    assert found["last_offset"] == 33


async def test_every_query_and_rule_is_a_readers_to_ask(
    analytics: Analytics,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    """Over HTTP, as everybody but the recorder asks, and as programs want the answer."""

    async def command_line(*arguments: str) -> bytes:
        monkeypatch.setattr(sys, "argv", ["crewstream", *arguments])
        with pytest.raises(SystemExit) as ended:
            await asyncio.to_thread(cli.main)
        assert not ended.value.code
        return capsysbinary.readouterr().out

    assert await answer(analytics, "llm"), "the engine is open in this process"
    async with ClickHouseFace(str(folder), port=0) as face, connect(face.url) as reader:
        for name in library.queries():
            await answer(reader, name)
        assert (await rules.findings(reader)).ran == set(rules.rules())

        monkeypatch.setenv("CREWSTREAM_CLICKHOUSE_DSN", face.url)
        csv = (await command_line("query", "llm", "--csv")).decode().splitlines()
        assert csv[0].startswith('"provider","model","calls"')
        assert csv[1].startswith('"","m1",3,1,')

        file = folder.parent / "llm.parquet"
        assert await command_line("sql", "SELECT 1 AS one;", "--parquet", str(file)) == b""
        data = file.read_bytes()
        assert (data[:4], data[-4:]) == (b"PAR1", b"PAR1")

        drawn = (await command_line("query", "trend_hour", "--plot")).decode()
        assert "Trend by hour: mean_s, p95_s" in drawn

        advice = json.loads(await command_line("advise", "--now", "--json"))
        assert ("model_unpriced", "m2") in {(each["rule"], each["subject"]) for each in advice}

        standing = json.loads(await command_line("analytics", "status", "--json"))
        assert {each["state"] for each in standing} == {"applied"}
