"""slo.yaml: what it may say, and what becomes of the table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from crewstream.adapters.clickhouse import Result
from crewstream.analytics.objectives import COLUMNS, Objective, Objectives, keep
from crewstream.errors import Misconfigured

EXAMPLE = Path(__file__).parents[3] / "examples" / "slo.yaml"
OLD = ("old", "", "", "task_success", 0.9, 0.0, 28, True)


class Table:
    """A table of objectives with one of earlier."""

    def __init__(self) -> None:
        self.rows: list[Sequence[object]] = []

    async def query(self, sql: str) -> Result:
        assert "FROM slo" in sql
        return Result(COLUMNS, [OLD])

    async def insert_rows(
        self, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]]
    ) -> None:
        assert (table, columns) == ("slo", COLUMNS)
        self.rows += rows


def test_no_file_is_no_objectives() -> None:
    assert Objectives.load(None) is None


def test_the_example_can_be_read() -> None:
    found = Objectives.load(EXAMPLE)
    assert found is not None
    assert found.objectives["acme-campaigns-in-ten-minutes"].row("n") == (
        *("n", "acme", "bizoholic", "workflow_latency", 0.9, 600_000.0, 7, True),
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("objectives: {a: {metric: task_success, objective: 1}}", "objectives.a.objective"),
        ("objectives: {a: {metric: uptime, objective: 0.9}}", "objectives.a.metric"),
        ("objectives: {a: {metric: task_latency, objective: 0.9}}", "needs threshold_s"),
        ("objectives: {a: {metric: task_success, objective: 0.9, days: 1}}", "days: Extra inputs"),
        ("objectives: [", "cannot be read"),
    ],
)
def test_what_cannot_be_used_is_told_by_name(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "slo.yaml"
    file.write_text(text)
    with pytest.raises(Misconfigured, match=told):
        Objectives.load(file)


async def test_the_table_says_what_the_file_says() -> None:
    table = Table()
    new = Objective(metric="task_queue", objective=0.95, threshold_s=60, project="p")
    await keep(Objectives(objectives={"new": new}), table)
    assert table.rows == [
        ("new", "", "p", "task_queue", 0.95, 60_000.0, 28, True),
        (*OLD[:-1], False),
    ]
