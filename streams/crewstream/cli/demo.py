"""What `demo` does with a running installation: two requests, their results, the first trends."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markdown import Markdown

from crewstream.adapters.clickhouse import Analytics, Result, connect
from crewstream.analytics import library
from crewstream.cli import shell
from crewstream.cli.board import Board
from crewstream.client import Client, Handle
from crewstream.contracts.events import WorkflowFinished, WorkflowStatus
from crewstream.contracts.shipped import shipped
from crewstream.errors import CrewstreamError, Unreachable

if TYPE_CHECKING:
    from crewstream.cli.progress import Services
    from crewstream.config import Settings
    from crewstream.embedded.installation import Installation

POLL_S = 0.1
LAST_LOOKS = 20
RESULTS_WITHIN_S = 300.0
ROWS_WITHIN_S = 30.0
# The rows of a workflow: one for each task's last attempt, and one when it has ended.
ROWS = """
SELECT workflow_id, uniqExactIf(task_id, operation = 'task') AS tasks,
       countIf(operation = 'invoke_workflow') AS ends
FROM v_events WHERE workflow_id IN {ids:Array(String)} GROUP BY workflow_id
"""


class DemoFailed(CrewstreamError):
    """The demo did not do what it is there to show."""


async def run(installation: Installation, view: Services, settings: Settings) -> None:
    """Submit the examples, follow and show them. Raises DemoFailed, and why."""
    since_s = time.monotonic()
    view.say(f"everything runs, after {view.took_s:.1f} s; submitting both example requests")
    client = Client(
        installation.kafka.bootstrap,
        prefix=settings.prefix,
        tenant=settings.tenant,
        status_url=installation.status_url,
    )
    async with client:
        handles = [await client.submit(request) for request in examples().values()]
        with Board(view.console) as board:
            finished = await follow(handles, board)
    for each in finished:
        show(each)
    if broken := [each for each in finished if each.status is not WorkflowStatus.COMPLETED]:
        raise DemoFailed("; ".join(map(reason, broken)))
    trends = await recorded(installation.clickhouse_url, finished)
    print("\nThe first trends, from ClickHouse (query `projects`)\n")
    shell.write_table(trends.columns, trends.rows)
    print(f"\n{ending(finished)}\n")
    print(
        f"Done in {view.took_s:.1f} s, {time.monotonic() - since_s:.1f} s of it since the requests."
    )
    print(
        "Next: `crewstream up` keeps all this running; README.md shows how to use it.", flush=True
    )


def examples() -> Mapping[str, Mapping[str, object]]:
    """The example requests that ship with crewstream, by name, as they stand in their files."""
    files = sorted((shipped() / "examples").glob("*.json"))
    return {file.stem: json.loads(file.read_text("utf-8")) for file in files}


async def follow(handles: Sequence[Handle], board: Board) -> Sequence[WorkflowFinished]:
    """The results, in order; meanwhile `board` sees every status. Raises DemoFailed after 300 s."""
    waiting = asyncio.gather(*(handle.result(RESULTS_WITHIN_S) for handle in handles))
    try:
        while not waiting.done():
            await _look(handles, board)
            await asyncio.wait([waiting], timeout=POLL_S)
        finished = await waiting
    except TimeoutError:
        raise DemoFailed(f"no result within {RESULTS_WITHIN_S:g} s") from None
    finally:
        waiting.cancel()
    for _ in range(LAST_LOOKS):  # a status follows its result by a moment
        if await _look(handles, board):
            break
        await asyncio.sleep(POLL_S)
    return finished


async def _look(handles: Sequence[Handle], board: Board) -> bool:
    """Show every status; whether all workflows have ended by it."""
    ended = 0
    for handle in handles:
        try:
            state = await handle.status()
        except Unreachable:
            return False  # the projector is away; the results come all the same
        if state is not None:
            board.see(state)
            ended += state["ended_at"] is not None
    return ended == len(handles)


def show(finished: WorkflowFinished) -> None:
    """A result on stdout: rendered on a terminal, otherwise as it is."""
    text = "\n\n".join(story(finished))
    console = Console()
    if console.is_terminal:
        console.print(Markdown(text))
    else:
        print(f"\n{text}", flush=True)


def story(finished: WorkflowFinished) -> Sequence[str]:
    """A result in Markdown: the verdict, then each task and its output."""
    took = f"{finished.status.value} in {finished.duration_ms / 1000:.1f} s"
    parts = [f"# {finished.workflow_type or finished.workflow_id}: {took}"]
    for task in finished.tasks:
        by = f"{task.project_id}, {task.agent or task.crew}"
        parts.append(f"## {task.task_id} ({by}): {task.status.value}")
        parts.append(task.failure.message if task.failure else task.output.strip())
    return parts


def reason(finished: WorkflowFinished) -> str:
    """Why a workflow is not completed, in one sentence."""
    told: list[Any] = [*finished.faults, finished.failure]
    told += [task.failure for task in finished.tasks]
    words = ", ".join(dict.fromkeys(each.message for each in told if each))
    return f"{finished.workflow_id} is {finished.status.value}: {words or 'nobody said why'}"


def ending(finished: Sequence[WorkflowFinished]) -> str:
    """What did the thinking."""
    tasks = [task for each in finished for task in each.tasks]
    if any(task.offline for task in tasks):
        return (
            "No language model was used: the offline model drove the crews' real tools and reported"
            " what they returned. With MODEL and its key set, the same crews use that model."
        )
    return f"Language model: {', '.join(sorted({task.model for task in tasks}))}."


async def recorded(clickhouse_url: str, finished: Sequence[WorkflowFinished]) -> Result:
    """The trends, once everything about these workflows is in ClickHouse. Raises DemoFailed."""
    deadline_s = time.monotonic() + ROWS_WITHIN_S
    async with connect(clickhouse_url) as analytics:
        while missing := await _missing(analytics, finished):
            if time.monotonic() > deadline_s:
                names = ", ".join(missing)
                raise DemoFailed(f"not in ClickHouse within {ROWS_WITHIN_S:g} s: {names}")
            await asyncio.sleep(POLL_S)
        return await library.run("projects", {}, analytics)


async def _missing(analytics: Analytics, finished: Sequence[WorkflowFinished]) -> Sequence[str]:
    ids = [each.workflow_id for each in finished]
    found = (await analytics.query(ROWS, {"ids": ids})).rows
    there = {workflow_id: (tasks, ends) for workflow_id, tasks, ends in found}
    return [
        each.workflow_id for each in finished if there.get(each.workflow_id) != (len(each.tasks), 1)
    ]
