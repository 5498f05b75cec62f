"""Advice over time: opened once, kept while it holds, told again when it matters, resolved."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from crewstream.analytics.advice import COLUMNS, Advice, Finding, changes

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
SLOW = Finding(
    rule="slower",
    kind="recommendation",
    severity="info",
    tenant_id="",
    project_id="p",
    subject="Analyst",
    about="Analyst takes 9 s a task",
    action="See why.",
    query="agents",
    evidence={"mean_s": "9"},
)
OPEN = Advice(SLOW, "open", NOW, NOW)


def test_what_is_found_for_the_first_time_is_opened_and_told() -> None:
    (change,) = changes([], [SLOW], {"slower"}, NOW)
    assert (change.advice, change.told) == (OPEN, True)


def test_newer_figures_are_kept_and_are_no_news() -> None:
    slower = replace(SLOW, about="Analyst takes 10 s a task", evidence={"mean_s": "10"})
    (change,) = changes([OPEN], [slower], {"slower"}, LATER)
    assert (change.advice, change.told) == (Advice(slower, "open", NOW, LATER), False)


def test_another_severity_is_news() -> None:
    (change,) = changes([OPEN], [replace(SLOW, severity="warning")], {"slower"}, LATER)
    assert (change.advice.opened_at, change.told) == (NOW, True)


def test_what_is_no_longer_found_is_resolved() -> None:
    (change,) = changes([OPEN], [], {"slower"}, LATER)
    assert (change.advice, change.told) == (Advice(SLOW, "resolved", NOW, LATER), True)


def test_what_a_rule_found_that_could_not_be_run_stays_as_it_is() -> None:
    assert changes([OPEN], [], {"stuck"}, LATER) == []


def test_the_same_subject_has_the_same_id_whatever_its_figures() -> None:
    assert replace(SLOW, about="x", severity="warning").advice_id == SLOW.advice_id
    assert replace(SLOW, subject="Writer").advice_id != SLOW.advice_id


def test_a_row_brings_the_advice_back() -> None:
    assert len(OPEN.row) == len(COLUMNS)
    assert Advice.of_row(OPEN.row) == OPEN
