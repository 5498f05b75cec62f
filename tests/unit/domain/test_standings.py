"""Counts become scores beside those who did the same."""

from __future__ import annotations

import json
from typing import Any

import pytest

from crewstream.domain.standings import Standing, scored


def row(agent: str, task_type: str = "quote", **changes: Any) -> dict[str, Any]:
    return {
        "project_id": "shop",
        "crew": "desk",
        "task_type": task_type,
        "agent": agent,
        "runs": 100,
        "succeeded": 80,
        "first_tries": 90,
        "first_succeeded": 70,
        "quality": 0.9,
        "duration_ms": 1000.0,
        "cost_usd": 0.01,
        **changes,
    }


def test_the_best_of_each_kind_of_task_comes_first() -> None:
    found = scored([row("a"), row("b", succeeded=99), row("a", "offer"), row("c", runs=0)])

    assert [(each.task_type, each.record.agent) for each in found] == [
        ("offer", "a"),
        ("quote", "b"),
        ("quote", "a"),
        ("quote", "c"),
    ]


def test_agents_are_compared_within_their_kind_of_task_only() -> None:
    alone = scored([row("a")])
    beside_another_kind = scored([row("a"), row("b", "offer", duration_ms=1.0)])
    beside_a_faster_one = scored([row("a"), row("b", duration_ms=1.0)])

    def score(found: Any) -> float:
        return float(next(s for s in found if s.record.agent == "a").candidate.score)

    assert score(beside_another_kind) == score(alone)
    assert score(beside_a_faster_one) < score(alone)


def test_a_standing_comes_back_from_its_row_as_it_was() -> None:
    (found,) = scored([row("a")])

    assert Standing.of_row(json.loads(json.dumps(found.row()))) == found
    assert found.candidate.score == pytest.approx(0.7197, abs=1e-4)
