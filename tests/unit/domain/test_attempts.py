"""What an assignment lets a runner do, and what becomes of its calls and budgets."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from crewstream.contracts.events import MeasuredStatus, Operation, TaskAssigned
from crewstream.contracts.limits import Limits
from crewstream.domain import attempts
from crewstream_agents import spec

NOW = datetime(2026, 11, 30, 23, 59, tzinfo=UTC)
LIMITS = Limits.model_validate(
    {
        "tenants": {"acme": {"month": {"max_tokens": 100}}},
        "projects": {"*": {"month": {"max_cost_usd": 5}}},
        "soft_ratio": 0.5,
    }
)


def assigned(**changes: Any) -> TaskAssigned:
    known = {
        "assignment_id": "w/t/2",
        "workflow_id": "w",
        "task_id": "t",
        "attempt": 2,
        "tenant_id": "acme",
        "project_id": "shop",
        "crew": "c",
        "task_type": "",
        "workflow_type": "",
        "assigned_at": NOW,
        "journal": "w/t/1",
        **changes,
    }
    return TaskAssigned.model_validate(known)


def outcome(*calls: spec.Call, alerts: Any = ()) -> spec.CrewOutcome:
    return spec.CrewOutcome(
        "w/t/2", spec.Status.SUCCEEDED, NOW, NOW, calls=list(calls), alerts=list(alerts)
    )


def call(name: str, sequence: int = 0, *, replayed: bool = False) -> spec.Call:
    return spec.Call(sequence, spec.Operation.CHAT, NOW, 1.0, name=name, replayed=replayed)


def test_model_calls_are_charged_to_workflow_tenant_and_project_of_the_month() -> None:
    task = attempts.crew_task(assigned(max_cost_usd=Decimal("0.5")), NOW, LIMITS)

    assert task.accounts == [
        spec.Account("workflow:w", 0, Decimal("0.5"), 0.5),
        spec.Account("tenant:acme:2026-11", 100, None, 0.5),
        spec.Account("project:shop:2026-11", 0, Decimal(5), 0.5),
    ]
    assert (task.journal, task.repeat_unknown) == ("w/t/1", False)


def test_the_month_is_that_of_the_assignment_in_utc() -> None:
    late = assigned(assigned_at=(NOW + timedelta(minutes=1)).isoformat().replace("+00:00", "Z"))

    names = [account.name for account in attempts.accounts(late, LIMITS)]

    assert names[1:] == ["tenant:acme:2026-12", "project:shop:2026-12"]


def test_an_assignment_without_a_journal_has_its_own() -> None:
    assert attempts.crew_task(assigned(journal=""), NOW, LIMITS).journal == "w/t/2"


def test_a_paid_call_is_one_row_whoever_tells_of_it() -> None:
    earlier = assigned(assignment_id="w/t/1", attempt=1)
    first = list(attempts.measured(earlier, outcome(call("r:llm:a:0", 3)), "a"))[1]
    again = list(attempts.measured(assigned(), outcome(call("r:llm:a:0", 0)), "b"))[1]

    assert first.event_id == again.event_id
    assert not first.replayed


def test_each_replay_is_a_row_of_its_own() -> None:
    replays = [call("r:llm:a:0", n, replayed=True) for n in (1, 2)]

    rows = list(attempts.measured(assigned(), outcome(call("r:llm:a:0"), *replays), "a"))[1:]

    assert [row.replayed for row in rows] == [False, True, True]
    assert len({row.event_id for row in rows}) == 3


@pytest.mark.parametrize(
    ("level", "status", "error_type"),
    [("soft", MeasuredStatus.OK, ""), ("hard", MeasuredStatus.ERROR, "budget.exceeded")],
)
def test_a_budget_that_comes_to_its_end_is_an_event(
    level: str, status: MeasuredStatus, error_type: str
) -> None:
    alert = spec.BudgetAlert("tenant:acme:2026-11", level, "tokens", Decimal(80), Decimal(100))

    row = list(attempts.measured(assigned(), outcome(alerts=[alert]), "a"))[-1]

    assert (row.operation, row.status, row.error_type) == (Operation.BUDGET, status, error_type)
    assert dict(row.attributes) == {
        "account": "tenant:acme:2026-11",
        "level": level,
        "unit": "tokens",
        "spent": "80",
        "limit": "100",
    }


def test_a_run_is_held_to_the_limits_of_its_project_and_kept_apart_as_they_say() -> None:
    limits = Limits.model_validate(
        {
            "projects": {
                "shop": {"max_llm_calls": 7, "isolation": {"c": "process"}},
                "*": {"max_iterations": 3, "isolation": "fresh"},
            }
        }
    )

    own = attempts.crew_task(assigned(), NOW, limits)
    of_others = attempts.crew_task(assigned(project_id="news"), NOW, limits)
    unlimited = attempts.crew_task(assigned(crew="d"), NOW, Limits())

    assert (own.limits, own.isolation) == (spec.RunLimits(max_llm_calls=7), "process")
    assert (of_others.limits, of_others.isolation) == (spec.RunLimits(max_iterations=3), "fresh")
    assert (unlimited.limits, unlimited.isolation) == (spec.RunLimits(), "")


def test_the_files_of_a_run_are_told_with_its_task() -> None:
    brought = replace(outcome(), files=[spec.WrittenFile("out/report.md", 120)])

    task, *_ = attempts.measured(assigned(), brought, "worker")

    assert task.attributes == {"files": '{"out/report.md": 120}'}
