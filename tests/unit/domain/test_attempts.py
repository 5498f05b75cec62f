"""What an assignment lets a runner do, and what becomes of its calls and budgets."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from crewstream.contracts.events import MeasuredStatus, Operation, TaskAssigned
from crewstream.contracts.limits import Limits
from crewstream.domain import attempts, measurements
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
    first = list(measurements.measured(earlier, outcome(call("r:llm:a:0", 3)), "a"))[1]
    again = list(measurements.measured(assigned(), outcome(call("r:llm:a:0", 0)), "b"))[1]

    assert first.event_id == again.event_id
    assert not first.replayed


def test_each_replay_is_a_row_of_its_own() -> None:
    replays = [call("r:llm:a:0", n, replayed=True) for n in (1, 2)]

    rows = list(measurements.measured(assigned(), outcome(call("r:llm:a:0"), *replays), "a"))[1:]

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

    row = list(measurements.measured(assigned(), outcome(alerts=[alert]), "a"))[-1]

    assert (row.operation, row.status, row.error_type) == (Operation.BUDGET, status, error_type)
    assert dict(row.attributes) == {
        "account": "tenant:acme:2026-11",
        "level": level,
        "unit": "tokens",
        "spent": "80",
        "limit": "100",
    }


MADE = spec.Selection(
    "quote",
    "alice",
    "highest score",
    explored=True,
    candidates=[spec.Candidate("alice", 0.9, 40, 0.05), spec.Candidate("bob", 0.7, busy=True)],
    at=NOW,
)
ASKED = spec.Delegation(
    *("Boss", "Alice", "delegate_work", "weigh it", "Bob", "why", "done", 12.5),
    name="alice",
    at=NOW,
)


def test_a_result_says_who_was_chosen_and_who_asked_whom() -> None:
    ran = replace(outcome(), selections=[MADE], delegations=[ASKED])

    result = attempts.finished(assigned(), ran, "w")

    (made,), (asked,) = result.selections, result.delegations
    assert (made.task_type, made.agent, made.explored) == ("quote", "alice", True)
    assert [(c.agent, c.score, c.runs, c.busy) for c in made.candidates] == [
        ("alice", 0.9, 40, False),
        ("bob", 0.7, 0, True),
    ]
    assert (asked.manager, asked.coworker, asked.asked) == ("Boss", "Alice", "Bob")
    assert (asked.kind, asked.task, asked.context) == ("delegate_work", "weigh it", "why")
    assert (asked.result, asked.duration_ms) == ("done", 12.5)


def test_choices_and_delegations_are_measured_once_whichever_attempt_tells_of_them() -> None:
    ran = replace(outcome(), selections=[MADE], delegations=[ASKED])

    def told(**changes: Any) -> list[Any]:
        return list(measurements.measured(assigned(**changes), ran, "w"))[1:]

    first, again = told(), told(attempt=3, assignment_id="w/t/3")
    assert [each.operation for each in first] == [Operation.SELECTION, Operation.DELEGATION]
    assert [each.event_id for each in first] == [each.event_id for each in again]
    assert [each.occurred_at for each in first] == [NOW, NOW]
    chosen, asked = first
    assert (chosen.agent, chosen.attributes["chosen_for"]) == ("alice", "quote")
    assert json.loads(chosen.attributes["candidates"])[1] == {
        "agent": "bob",
        "score": 0.7,
        "runs": 0,
        "confidence": 0.0,
        "busy": True,
    }
    assert (asked.agent, asked.status, asked.duration_ms) == ("Alice", MeasuredStatus.OK, 12.5)
    assert asked.attributes["manager"] == "Boss"


def test_a_delegation_that_failed_is_an_error() -> None:
    ran = replace(outcome(), delegations=[replace(ASKED, error_type="delegation.failed")])

    *_, asked = measurements.measured(assigned(), ran, "w")

    assert (asked.status, asked.error_type) == (MeasuredStatus.ERROR, "delegation.failed")


def test_what_an_agents_record_rests_on_is_measured_with_the_task() -> None:
    failed = replace(call(""), operation=spec.Operation.EXECUTE_TOOL, error_type="tool.failed")
    ran = replace(outcome(failed), attributes={"agent_name": "alice", "quality": "0.5"})

    task, *_ = measurements.measured(assigned(answers=("make it shorter", "")), ran, "w")

    assert task.attributes == {
        "agent_name": "alice",
        "quality": "0.5",
        "tool_failures": "1",
        "sent_back": "1",
    }


def test_a_run_gets_the_limits_of_its_projects_agents() -> None:
    limits = Limits.model_validate({"projects": {"shop": {"agents": {"alice": {"max_tasks": 2}}}}})
    known = {"quote/alice": spec.Candidate("alice", 0.9)}

    task = attempts.crew_task(assigned(), NOW, limits, known)

    assert (task.agent_limits, task.standings) == ({"alice": 2}, known)


def test_a_tool_must_be_on_the_list_of_the_tenant_and_of_the_project() -> None:
    limits = Limits.model_validate(
        {
            "tenants": {"acme": {"tools": ["search_*"]}},
            "projects": {"shop": {"tools": ["search_web", "price"]}},
        }
    )

    both = attempts.crew_task(assigned(), NOW, limits)
    one = attempts.crew_task(assigned(tenant_id="other"), NOW, limits)
    none = attempts.crew_task(assigned(), NOW, Limits())

    assert both.tools == [("search_*",), ("search_web", "price")]
    assert one.tools == [("search_web", "price")]
    assert none.tools == []


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

    task, *_ = measurements.measured(assigned(), brought, "worker")

    assert task.attributes == {"files": '{"out/report.md": 120}'}
