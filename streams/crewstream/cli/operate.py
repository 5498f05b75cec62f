"""One verb per process, and what they can run."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from crewstream.cli import shell
from crewstream.cli.shell import AsJson

if TYPE_CHECKING:
    from crewstream.config import Process

app = typer.Typer()
PANEL = "Operate"


@app.command(rich_help_panel=PANEL)
def coordinator() -> None:
    """Run a coordinator: requests become tasks, task results become workflow results."""
    _run("coordinator")


@app.command(rich_help_panel=PANEL)
def worker() -> None:
    """Run a worker: tasks are done by crews."""
    _run("worker")


@app.command(rich_help_panel=PANEL)
def projector() -> None:
    """Run a projector: the status of workflows, in Redis and over HTTP."""
    _run("projector")


@app.command(rich_help_panel=PANEL)
def projects(*, as_json: AsJson = False) -> None:
    """Show which projects are installed here, their crews and what they can do."""
    from crewstream.app import describe_projects  # noqa: PLC0415

    shell.begin()
    found = describe_projects()
    if as_json:
        shell.write_json([asdict(project) for project in found])
        return
    rows = [
        (project.project_id, crew.crew, task.task_type, task.agent, ", ".join(task.tools))
        for project in found
        for crew in project.crews
        for task in crew.tasks
    ]
    shell.write_table(("project", "crew", "task", "agent", "tools"), rows)


def _run(process: Process) -> None:
    from crewstream import app as root  # noqa: PLC0415

    raise typer.Exit(root.run(process, shell.begin_process()))
