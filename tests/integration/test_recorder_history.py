"""Trends, forecasts, objectives and advice on three weeks of data whose answers are known."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from crewstream.adapters.clickhouse import Analytics, connect
from crewstream.adapters.prometheus import Metrics
from crewstream.analytics import library, objectives, rules
from crewstream.analytics.migrations import Place, migrate
from crewstream.app.advising import Adviser
from crewstream.contracts.codec import Codec
from crewstream.contracts.events import AdviceStatus, Advised
from crewstream.contracts.schemas import Schemas
from crewstream.records import Outbound

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

CODEC = Codec(Schemas.load())
HOUR = "toStartOfHour(now('UTC'))"
DAYS = 21
INCIDENT_H = 200  # hours ago, and far enough from the last week

# `ago` are hours; number, ago and nth (of the hour) are there to make values of.
INSERT = """
INSERT INTO events (event_id, occurred_at, tenant_id, project_id, workflow_id, task_id,
    assignment_id, attempt, operation, status, error_type, task_type, agent, tool, provider, model,
    queue_ms, duration_ms, cost_usd, attributes, _topic)
SELECT generateUUIDv4(), at, 't', '{project}',
    concat('{project}-', toString(number)) AS workflow_id, 'a',
    concat(workflow_id, '/a/', toString({attempt})), {attempt}, '{operation}', {status},
    if({status} = 'ok', '', '{error}'), '{task_type}', '{agent}', '{tool}', '', {model},
    {queue_ms}, {duration_ms}, {cost_usd}, {attributes}, 'metrics'
FROM (
    SELECT rowNumberInAllBlocks() AS number, toUInt32(h) AS ago, n AS nth,
        {hour} - toIntervalHour(ago) + toIntervalSecond(3600 * (nth + 0.5) / many) AS at
    FROM (SELECT arrayJoin(range({last}, {first} + 1)) AS h, {many} AS many)
    ARRAY JOIN range(many) AS n
)
"""
DEFAULTS: dict[str, object] = {
    "operation": "task",
    "status": "'ok'",
    "error": "tool.failed",
    "attempt": 1,
    "task_type": "",
    "agent": "",
    "tool": "",
    "model": "''",
    "queue_ms": 10,
    "duration_ms": 1000,
    "cost_usd": 0,
    "attributes": "map()",
    "last": 1,
    "many": 1,
    "hour": HOUR,
}
DAY = {"first": 20, "last": 1}
WEEK = {"first": 180, "last": 26}
NOVICE = {"project": "falls", "agent": "Novice"}
RHYTHM = {
    "project": "rhythm",
    "first": DAYS * 24,
    "many": f"""
    (if(toHour({HOUR} - toIntervalHour(h)) >= 12, 40, 30) + if(h = {INCIDENT_H}, 200, 0))""",
}

STORY: Sequence[dict[str, Any]] = [
    # A daily rhythm; every fortieth task fails; slower by 0.2 s a day.
    RHYTHM
    | {"agent": "Drummer", "status": "if(nth % 40 = 0, 'error', 'ok')"}
    | {"duration_ms": "10000 + 200 * dateDiff('day', toDate(now('UTC')) - 21, toDate(at, 'UTC'))"},
    RHYTHM | {"operation": "chat", "model": "'m'", "cost_usd": 0.01},
    # An agent with a good week; today half of it fails, is retried, and takes three times as long.
    NOVICE | WEEK | {"many": 2, "duration_ms": 10_000},
    NOVICE
    | DAY
    | {"many": 2, "status": "if(nth = 0, 'error', 'ok')", "attempt": "1 + nth"}
    | {"duration_ms": 30_000},
    # Dearer too, by a model that is often refused, and one whose price nobody knows.
    NOVICE | WEEK | {"operation": "chat", "model": "'big'", "many": 2, "cost_usd": 0.01},
    NOVICE
    | DAY
    | {"operation": "chat", "model": "'big'", "many": 3, "cost_usd": 0.01}
    | {"status": "if(nth = 0 AND ago <= 7, 'error', 'ok')", "error": "llm.rate_limited"},
    NOVICE
    | {"operation": "chat", "model": "'local'", "first": 3}
    | {"attributes": "map('price', 'unknown')"},
    NOVICE
    | DAY
    | {"operation": "execute_tool", "tool": "lever", "many": 2}
    | {"status": "if(nth = 0, 'error', 'ok')"},
    # Four tasks that take an hour each, all the time, and wait most of a minute.
    {"project": "waits", "first": 240, "many": 4, "duration_ms": 3_599_000, "queue_ms": 50_000},
    # Two models for the same kind of task.
    *(
        {"project": "models", "task_type": "write", "first": 40, "operation": operation}
        | {"model": f"'{model}'", "cost_usd": usd if operation == "chat" else 0}
        for model, usd in (("dear", 0.01), ("cheap", 0.001))
        for operation in ("task", "chat")
    ),
    # Nothing but retries within the last hour.
    {"project": "storm", "first": 0, "last": 0, "many": 120, "attempt": 2}
    | {"hour": "(now('UTC') - INTERVAL 55 MINUTE)", "duration_ms": 1},
    # Five times as much, most of it failing, in the last whole hour.
    {"project": "spike", "first": 240, "many": "if(h = 1, 100, 20)"}
    | {"status": "if(ago = 1 AND nth < 60, 'error', 'ok')"},
    {"project": "", "operation": "budget", "first": 2}
    | {
        "attributes": "map('account', 'tenant:t', 'unit', 'usd', 'level', 'soft', 'spent', '9', "
        "'limit', '10')"
    },
]
STUCK = """
INSERT INTO transitions
    (workflow_id, tenant_id, project_id, status, version, accepted_at, updated_at)
SELECT 'w', 't', 'falls', 'running', 2, now64(6) - INTERVAL 3 HOUR, now64(6) - INTERVAL 2 HOUR
"""
LETTER = """
INSERT INTO dead_letters (topic, partition, offset, failed_at, error_type, error)
VALUES ('tasks', 0, 7, now64(3), 'Undecodable', 'no schema')
"""
FAST = objectives.Objective(
    metric="task_latency", objective=0.8, threshold_s=12, window_days=6, project="rhythm"
)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def analytics(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Analytics]:
    """The database, with its rollups; no hour ends while it is asked."""
    left_s = 3600 - datetime.now(UTC).timestamp() % 3600
    if left_s < 60:
        await asyncio.sleep(left_s + 1)
    async with connect(f"chdb://{tmp_path_factory.mktemp('history')}/data") as found:
        await migrate(found, Place(found.database))
        for part in STORY:
            await found.command(INSERT.format(**(DEFAULTS | part)))
        await found.command(STUCK)
        await found.command(LETTER)
        await objectives.keep(objectives.Objectives(objectives={"rhythm-fast": FAST}), found)
        for rollup in ("rollup_1h", "rollup_1d"):
            await found.command(f"SYSTEM REFRESH VIEW {rollup}_refresh")
            await found.command(f"SYSTEM WAIT VIEW {rollup}_refresh")
        yield found


async def answer(on: Analytics, name: str, /, **given: library.Value) -> list[dict[str, Any]]:
    found = await library.run(name, given, on)
    return [dict(zip(found.columns, row, strict=True)) for row in found.rows]


def this_hour() -> datetime:
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def tasks_of(hour: datetime) -> int:
    return 40 if hour.hour >= 12 else 30


async def test_the_trend_by_day_knows_the_day_and_the_week_before(analytics: Analytics) -> None:
    days = await answer(analytics, "trend_day", days=14, project="rhythm")
    incident = (this_hour() - timedelta(hours=INCIDENT_H)).date()
    *whole, _ = days
    assert {day["tasks"] for day in whole if day["day"] != incident} == {840}
    assert [day["tasks"] for day in whole if day["day"] == incident] == [1040]
    last = whole[-1]
    assert (last["tasks_change"], last["tasks_7d"]) == (0.0, pytest.approx(840, abs=30))
    assert last["mean_s"] == pytest.approx(whole[-2]["mean_s"] + 0.2, abs=0.001)
    assert last["mean_change"] == pytest.approx(0.2 / whole[-2]["mean_s"], abs=0.0001)
    assert (float(last["cost_usd"]), last["cost_change"]) == (8.4, 0.0)


async def test_what_becomes_slower_every_day_degrades_and_what_varies_is_stable(
    analytics: Analytics,
) -> None:
    found = {t["metric"]: t for t in await answer(analytics, "trend_slope", project="rhythm")}
    assert {name: t["direction"] for name, t in found.items()} == {
        "tasks": "stable",
        "success_rate": "stable",
        "mean_s": "degrading",
        "cost_per_task_usd": "stable",
    }
    assert found["mean_s"]["slope_per_day"] == pytest.approx(0.2, abs=0.001)
    assert found["mean_s"]["p_value"] < 0.001
    assert found["tasks"]["p_value"] > 0.05


async def test_only_the_incident_is_an_anomaly(analytics: Analytics) -> None:
    (found,) = await answer(analytics, "anomalies", project="rhythm")
    hour = this_hour() - timedelta(hours=INCIDENT_H)
    assert (found["hour"], found["direction"]) == (hour, "high")
    assert (found["actual"], found["expected"]) == (
        200 + tasks_of(hour),
        pytest.approx(tasks_of(hour), abs=3),
    )
    assert await answer(analytics, "anomalies", project="rhythm", metric="error_rate") == []


async def test_an_agent_that_is_far_from_its_median_is_an_anomaly(analytics: Analytics) -> None:
    rows = await answer(analytics, "anomalies_robust", metric="tasks", project="rhythm")
    assert [(row["agent"], row["hour"]) for row in rows] == [
        ("Drummer", this_hour() - timedelta(hours=INCIDENT_H))
    ]
    assert await answer(analytics, "anomalies_robust", project="rhythm") == []


@pytest.mark.parametrize("metric", ["tasks", "mean_s", "cost_usd", "slots"])
async def test_a_forecast_goes_on_with_the_rhythm(analytics: Analytics, metric: str) -> None:
    rows = await answer(analytics, "forecast", project="rhythm", metric=metric, horizon=24)
    assert [row["hour"] for row in rows] == [
        this_hour() + timedelta(hours=h) for h in range(-24, 24)
    ]
    for row in rows:
        assert row["low"] <= row["forecast"] <= row["high"]
        assert (row["actual"] is None) is (row["hour"] >= this_hour())
        days = DAYS + (row["hour"].date() - this_hour().date()).days
        mean_s = 10 + 0.2 * days
        expected = {
            "tasks": tasks_of(row["hour"]),
            "mean_s": mean_s,
            "cost_usd": tasks_of(row["hour"]) / 100,
            "slots": tasks_of(row["hour"]) * mean_s / 3600,
        }[metric]
        assert row["forecast"] == pytest.approx(expected, rel=0.06)


async def test_capacity_is_the_busy_load_and_its_root(analytics: Analytics) -> None:
    every, *projects = await answer(analytics, "capacity", days=7)
    assert every["project_id"] == "(all)"
    waits = next(row for row in projects if row["project_id"] == "waits")
    assert (waits["busy_at_once"], waits["slots_needed"]) == (pytest.approx(4, abs=0.01), 6)
    assert (waits["p95_wait_today_s"], waits["advice"]) == (50.0, "add slots")


async def test_objectives_have_budgets_that_burn(analytics: Analytics) -> None:
    found = {row["name"]: row for row in await answer(analytics, "slo")}
    assert set(found) == {"rhythm-fast", "tasks-succeed", "tasks-start-soon", "workflows-complete"}
    fast = found["rhythm-fast"]
    assert (fast["good_events"], fast["attained"], fast["budget_left"]) == (0, 0.0, -4.0)
    assert (fast["burn_3d"], fast["burn_6h"], fast["state"]) == (5.0, 5.0, "ticket")
    assert found["workflows-complete"]["state"] == "no data"
    (one,) = await answer(analytics, "slo", name="rhythm-fast")
    assert one["events"] == fast["events"] > 6 * 24 * 30


async def test_dead_letters_are_counted_by_what_was_wrong_with_the_last_of_each(
    analytics: Analytics,
) -> None:
    rows = await answer(analytics, "dead_letters")

    seen = {"topic": "tasks", "error_type": "Undecodable", "letters": 1, "last_error": "no schema"}
    assert [{**row, "last_seen": None} for row in rows] == [
        {**seen, "last_position": "tasks[0]@7", "last_seen": None}
    ]


async def test_the_rules_find_what_the_story_tells_and_nothing_else(analytics: Analytics) -> None:
    found = await rules.findings(analytics)
    assert found.ran == set(rules.rules())
    assert sorted((f.rule, f.project_id, f.subject, f.severity) for f in found.findings) == [
        ("anomaly_error_rate", "spike", "error_rate", "warning"),
        ("anomaly_tasks", "spike", "tasks", "info"),
        ("budget_ends", "", "tenant:t usd", "warning"),
        ("cheaper_model", "models", "write: dear", "info"),
        ("cost_rose", "falls", "cost", "warning"),
        ("dead_letters", "", "tasks", "warning"),
        ("degrading", "rhythm", "mean_s", "info"),
        ("model_limited", "", "big", "critical"),
        ("model_unpriced", "", "local", "info"),
        ("retried", "falls", "Novice", "warning"),
        ("retry_storm", "storm", "retries", "critical"),
        ("slo_burns", "rhythm", "rhythm-fast", "warning"),
        ("slower", "falls", "Novice", "warning"),
        ("stuck", "falls", "workflows", "warning"),
        ("success_dropped", "falls", "Novice", "warning"),
        ("tasks_wait", "waits", "slots", "warning"),
        ("tool_fails", "falls", "lever", "critical"),
    ]
    assert all(f.about and f.action and f.evidence for f in found.findings)


class Outbox:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.events: list[Advised] = []

    async def send(self, records: Iterable[Outbound]) -> None:
        self.events += [CODEC.decode(each.value, Advised) for each in records]


async def test_advice_is_told_once_and_again_when_it_is_over(analytics: Analytics) -> None:
    out, metrics, now = Outbox(), Metrics(), datetime.now(UTC)
    adviser = Adviser(analytics, out, CODEC, "advice", metrics)
    await adviser.advise(now)
    first = len(out.events)
    assert first == len({event.advice_id for event in out.events}) > 10
    kept = await answer(analytics, "recommendations")
    assert len(kept) == first
    assert kept[0]["severity"] == "critical"

    await adviser.advise(now + timedelta(minutes=5))
    assert len(out.events) == first, "the same again is no news"

    await analytics.command("TRUNCATE TABLE dead_letters")
    await adviser.advise(now + timedelta(minutes=10))
    (over,) = out.events[first:]
    assert (over.rule, over.status) == ("dead_letters", AdviceStatus.RESOLVED)
    assert len(await answer(analytics, "recommendations")) == first - 1
    (resolved,) = await answer(analytics, "recommendations", status="resolved")
    assert (resolved["rule"], resolved["opened_at"]) == (
        "dead_letters",
        now.replace(microsecond=now.microsecond // 1000 * 1000),
    )

    text = metrics.render()[0].decode()
    assert 'crewstream_recommendations{rule="dead_letters",severity="warning"} 0.0' in text
    assert 'crewstream_recommendations{rule="stuck",severity="warning"} 1.0' in text
    assert 'crewstream_slo_burn_rate{slo="rhythm-fast",window="3d"} 5.0' in text
    assert 'crewstream_slo_budget_ratio{slo="rhythm-fast"} -4.0' in text


async def test_an_objective_that_its_file_no_longer_has_is_switched_off(
    analytics: Analytics,
) -> None:
    """Last: it takes one of the objectives away."""
    metrics = Metrics()
    adviser = Adviser(analytics, Outbox(), CODEC, "advice", metrics)
    await adviser.advise(datetime.now(UTC))
    other = objectives.Objective(metric="workflow_success", objective=0.5)
    await objectives.keep(
        objectives.Objectives(objectives={"workflows-complete": other}), analytics
    )
    found = {row["name"]: row["objective"] for row in await answer(analytics, "slo")}
    assert found == {"workflows-complete": 0.5, "tasks-succeed": 0.95, "tasks-start-soon": 0.95}
    await adviser.advise(datetime.now(UTC))
    text = metrics.render()[0].decode()
    assert 'crewstream_slo_burn_rate{slo="rhythm-fast",window="3d"} 0.0' in text
    assert 'crewstream_slo_budget_ratio{slo="workflows-complete"}' not in text, "no data yet"
