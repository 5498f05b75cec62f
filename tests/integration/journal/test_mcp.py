"""Tools of an MCP server that runs as a process beside: measured and journaled like any other."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from crewai import Agent, Crew, Task
from crewai.mcp import MCPServerStdio
from crewsample.model import Choice, ScriptedModel

from crewstream_agents.executor import EXECUTOR_SETTING
from crewstream_agents.isolation import isolate
from crewstream_agents.journal import seam
from crewstream_agents.project import Project
from crewstream_agents.run import Run
from crewstream_agents.spec import Call, CrewOutcome, Operation, Status
from crewstream_agents.templates import Template, Templates
from support.journal_bench import Bench, new_task

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*prevent checkpointing:UserWarning"),
]

SERVER = """
    import sys
    from pathlib import Path
    from mcp.server.fastmcp import FastMCP

    server = FastMCP("stock")

    @server.tool()
    def in_stock(sku: str) -> str:
        "How many there are."
        with Path(sys.argv[1]).open("a") as calls:
            calls.write(f"{sku}\\n")
        return f"{sku}: 42 in stock"

    server.run()
"""


@pytest.fixture
def bench(valkey: str) -> Iterator[Bench]:
    isolate()
    seam.install()
    made = Bench(valkey)
    yield made
    made.close()


def template(folder: Path, calls: Path) -> Template:
    server = folder / "server.py"
    server.write_text(dedent(SERVER))
    clerk = Agent(
        role="clerk",
        goal="g",
        backstory="b",
        llm=ScriptedModel(model="scripted/clerk", plan=_plan, compose=lambda _, told: told[-1]),
        mcps=[MCPServerStdio(command=sys.executable, args=[str(server), str(calls)])],
    )
    task = Task(name="count", description="d", expected_output="e", agent=clerk)
    return Template(Crew(agents=[clerk], tasks=[task]), ["clerk"])


def _plan(_: str, tools: list[str]) -> list[tuple[str, dict[str, Any]]]:
    (tool,) = tools
    return [(tool, {"sku": "A-17"})]


@pytest.mark.parametrize("executor", ["lean", "stock"])
async def test_a_tool_of_an_mcp_server_is_called_once_however_often_the_attempt_runs(
    bench: Bench, tmp_path: Path, executor: str
) -> None:
    calls = tmp_path / "calls.txt"
    task = replace(new_task(), journal="w/t/1", project_id="shop", crew="counting", deadline_s=60)
    shop = Project("shop", "Shop", {"counting": "nowhere:Crew"})
    built: dict[Any, Any] = {("shop", "counting"): template(tmp_path, calls)}

    async def execute() -> CrewOutcome:
        run = Run(task, bench.redises)
        environ = {EXECUTOR_SETTING: executor}
        scripted = Choice("scripted/clerk", offline=False)
        return await run.execute(
            Templates({"shop": shop}, _built=built), lambda *_: scripted, environ
        )

    first, again = await execute(), await execute()

    assert (first.status, again.status) == (Status.SUCCEEDED, Status.SUCCEEDED)
    assert "42 in stock" in first.output
    assert again.output == first.output
    assert calls.read_text().splitlines() == ["A-17"]
    (called,) = _tool_calls(first)
    assert {call.tool for call in _tool_calls(again)} == {called.tool}
    assert [call.replayed for call in _tool_calls(again)] == [False, True]


def _tool_calls(outcome: CrewOutcome) -> list[Call]:
    return [call for call in outcome.calls if call.operation is Operation.EXECUTE_TOOL]
