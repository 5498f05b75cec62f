"""rebuild status: what can be made again from the log is made again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from crewstream.cli import shell
from crewstream.cli.shell import AsJson

if TYPE_CHECKING:
    from crewstream.app.rebuild import Rebuilt
    from crewstream.config import Settings

app = typer.Typer(no_args_is_help=True, help="Make again what can be made from the log.")


@app.callback()
def rebuild() -> None:
    """Keep the name of the verb: with one command alone, typer would leave it out."""


@app.command()
def status(*, as_json: AsJson = False) -> None:
    """Empty the status of workflows in Redis, and fill it from the coordinator's log.

    Ends when the status is what the log says; until then it is incomplete for who reads it. What is
    no more in the log is gone afterwards. Outcomes, journals and budgets are not touched. Processes
    may run: a projector notices as well, and reads the log once more. It may be run again.
    """
    done = shell.run(_status(shell.begin()))
    if as_json:
        total = sum(done.workflows.values())
        shell.write_json({"workflows": total, "by_status": done.workflows, "records": done.records})
        return
    print(f"{sum(done.workflows.values())} workflows, from {done.records} records of the log")
    if done.workflows:
        shell.write_table(("status", "workflows"), done.workflows.items())


async def _status(settings: Settings) -> Rebuilt:
    from crewstream.app.rebuild import rebuild_status  # noqa: PLC0415

    return await rebuild_status(settings, shell.percent(" of the log"))
