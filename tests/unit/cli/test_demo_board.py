"""The tasks of workflows under way, in lines."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from crewstream.cli.board import Board

ACCEPTED, ENDED = "2026-01-01T00:00:00+00:00", "2026-01-01T00:00:02.500000+00:00"


def status(state: str, *tasks: str, ended: str | None = None) -> dict[str, Any]:
    return {
        "workflow_id": "w-1",
        "workflow_type": "campaign",
        "project_id": "bizoholic",
        "status": state,
        "accepted_at": ACCEPTED,
        "ended_at": ended,
        "tasks": [
            {
                "task_id": f"task-{number}",
                "project_id": "bizoholic",
                "agent": "Strategist" if task == "succeeded" else "",
                "status": task,
                "assigned_at": ACCEPTED,
                "finished_at": ENDED if task == "succeeded" else None,
            }
            for number, task in enumerate(tasks, 1)
        ],
    }


def shown(*states: dict[str, Any]) -> list[str]:
    out = io.StringIO()
    with Board(Console(file=out, width=40)) as board:
        for state in states:
            board.see(state)
    return out.getvalue().splitlines()


def test_each_transition_is_one_line_and_told_once() -> None:
    running = status("running", "assigned", "pending")
    assert shown(running, running, status("running", "succeeded", "assigned")) == [
        "campaign: running",
        "campaign/task-1 (bizoholic): assigned",
        "campaign/task-2 (bizoholic): pending",
        "campaign/task-1 (bizoholic): succeeded by Strategist after 2.5 s",
        "campaign/task-2 (bizoholic): assigned",
    ]


def test_what_a_run_does_is_told_when_it_changes() -> None:
    def doing(step: int) -> dict[str, Any]:
        state = status("running", "assigned")
        state["tasks"][0]["progress"] = {
            "task": "write",
            "agent": "Writer",
            "tool": "" if step == 1 else "look_up",
            "model": "gpt-4o",
            "step": step,
            "input_tokens": 10 * step,
            "output_tokens": 5,
        }
        return state

    assert shown(doing(1), doing(1), doing(2)) == [
        "campaign: running",
        "campaign/task-1 (bizoholic): assigned by Writer: write, gpt-4o, step 1, 10 + 5 tokens",
        "campaign/task-1 (bizoholic): assigned by Writer: write, look_up, step 2, 20 + 5 tokens",
    ]


def test_the_end_of_a_workflow_says_how_long_it_took() -> None:
    assert shown(status("completed", ended=ENDED)) == ["campaign: completed after 2.5 s"]
