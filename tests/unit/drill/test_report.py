"""A report is good only when every figure that has to be something is that."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from typer.testing import CliRunner

from crewstream.cli.main import app
from crewstream.drill.calls import CallCounts
from crewstream.drill.counting import Measurements, Rows, WorkflowCounts
from crewstream.drill.plan import Kind
from crewstream.drill.report import Effects, Report

FLOWS = WorkflowCounts(2, 2, 1, (), (), (), (), 3)
CALLS = CallCounts(9, 8, 0, 0, 1, (), 90, 80)
GOOD = Report(
    seed=1,
    asked=2,
    workflows=FLOWS,
    calls=CALLS,
    measured=Measurements(8, 4, 80),
    effects=Effects(1, (), ()),
    rows_in_topics=Rows(5, 6, 3),
    rows_in_clickhouse=Rows(5, 6, 3),
    letters_expected=3,
    recovery={},
    faults=(),
    took_s=1.0,
)
WRONG: dict[str, dict[str, Any]] = {
    "workflows_accepted": {"asked": 3},
    "lost": {"workflows": replace(FLOWS, lost=["w"])},
    "ended_twice": {"workflows": replace(FLOWS, ended_twice=["w"])},
    "not_completed": {"workflows": replace(FLOWS, unsuccessful=["w"])},
    "task_results_applied_twice": {"workflows": replace(FLOWS, applied_twice=["w"])},
    "dead_letters": {"workflows": replace(FLOWS, letters=4)},
    "paid_twice": {"calls": replace(CALLS, paid_twice=["w"])},
    "calls_measured_as_paid": {"measured": Measurements(9, 4, 80)},
    "tokens_measured_as_paid": {"measured": Measurements(8, 4, 90)},
    "tool_effects_repeated": {"effects": Effects(2, ["e"], ())},
    "idempotency_keys_that_changed": {"effects": Effects(1, (), ["e"])},
    "rows_of_events_in_clickhouse": {"rows_in_clickhouse": Rows(6, 6, 3)},
}


def test_a_repetition_that_was_cut_off_in_flight_spoils_nothing() -> None:
    assert GOOD.calls.repeated_in_flight
    assert GOOD.good


@pytest.mark.parametrize("key", WRONG)
def test_each_wrong_figure_spoils_it(key: str) -> None:
    report = replace(GOOD, **WRONG[key])
    assert not report.good
    assert key in [line.key for line in report.lines() if not line.good]
    assert report.document()["good"] is False


def test_an_unknown_kind_of_fault_is_refused_with_the_known_ones() -> None:
    told = CliRunner().invoke(app, ["drill", "--only", "worker,earthquake"])
    assert told.exit_code == 2
    assert "earthquake" in told.output
    assert all(kind in told.output for kind in Kind)
