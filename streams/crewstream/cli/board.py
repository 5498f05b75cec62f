"""The tasks of some workflows while they are worked on: live on a terminal, else in lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from rich.live import Live
from rich.table import Table

if TYPE_CHECKING:
    from rich.console import Console

STYLES = {"succeeded": "green", "failed": "red", "assigned": "yellow"}


@dataclass(frozen=True, slots=True)
class Row:
    """A workflow, or one of its tasks, as it is now. `seconds`: how long it took, once it ended.

    `doing` is what its run does, while it runs.
    """

    workflow: str
    task: str
    project: str
    agent: str
    status: str
    seconds: float | None = None
    doing: str = ""

    @property
    def sentence(self) -> str:
        """The row as a line of text."""
        by = f" by {self.agent}" if self.agent else ""
        took = "" if self.seconds is None else f" after {self.seconds:.1f} s"
        place = f"{self.workflow}/{self.task} ({self.project})" if self.task else self.workflow
        now = f": {self.doing}" if self.doing else ""
        return f"{place}: {self.status}{by}{took}{now}"


def rows(state: Mapping[str, Any]) -> Sequence[Row]:
    """The rows of a workflow, from its status: its own, then one for each task."""
    name = state["workflow_type"] or state["workflow_id"]
    took_s = _seconds(state["accepted_at"], state["ended_at"])
    own = Row(name, "", state["project_id"], "", state["status"], took_s)
    return [own, *(_task(name, task) for task in state["tasks"])]


def doing(task: Mapping[str, Any]) -> str:
    """What the run of a task does now, in words; empty when nothing is known."""
    progress = task.get("progress")
    if not progress or not (progress["task"] or progress["step"]):
        return ""
    tokens = f"{progress['input_tokens']} + {progress['output_tokens']} tokens"
    told = (progress["task"], progress["tool"] or progress["model"], f"step {progress['step']}")
    return ", ".join((*filter(None, told), tokens))


def asks(task: Mapping[str, Any]) -> str:
    """What a task asks a person; empty when it asks nothing."""
    failure = task["failure"]
    waits = task["status"] == "waiting_approval" and failure is not None
    return str(failure["message"]) if waits else ""


def _task(workflow: str, task: Mapping[str, Any]) -> Row:
    return Row(
        workflow,
        task["task_id"],
        task["project_id"],
        agent_of(task),
        task["status"],
        _seconds(task["assigned_at"], task["finished_at"]),
        doing(task),
    )


def agent_of(task: Mapping[str, Any]) -> str:
    """Who works at a task, or has done it."""
    return str((task.get("progress") or {}).get("agent") or task["agent"])


def _seconds(start: str | None, end: str | None) -> float | None:
    if start is None or end is None:
        return None
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


class Board:
    """Shows the last status that was seen of each workflow."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._seen: dict[str, Sequence[Row]] = {}
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(self._table(), console=self._console)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def see(self, state: Mapping[str, Any]) -> None:
        """Take a status; in lines, what is new in it is told."""
        workflow_id, now = state["workflow_id"], rows(state)
        known = {(row.task, row.status, row.doing) for row in self._seen.get(workflow_id, ())}
        self._seen[workflow_id] = now
        if self._live:
            self._live.update(self._table())
            return
        for row in now:
            if (row.task, row.status, row.doing) not in known:
                self.say(row.sentence)

    def say(self, text: str) -> None:
        """Text as it is, above the table."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _table(self) -> Table:
        table = Table("workflow", "task", "project", "agent", "status", "s", "now", box=None)
        for row in (row for seen in self._seen.values() for row in seen):
            took = "" if row.seconds is None else f"{row.seconds:.1f}"
            cells = (row.workflow, row.task, row.project, row.agent, row.status, took, row.doing)
            table.add_row(*cells, style=STYLES.get(row.status, ""))
        return table
