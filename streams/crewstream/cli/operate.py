"""One verb per process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from crewstream.cli import shell

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


def _run(process: Process) -> None:
    from crewstream import app as root  # noqa: PLC0415

    raise typer.Exit(root.run(process, shell.begin_process()))
