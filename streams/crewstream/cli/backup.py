"""backup, restore: what Kafka and Redis hold of an installation, in a folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from crewstream.cli import shell
from crewstream.cli.shell import AsJson

app = typer.Typer()
PANEL = "Operate"


@app.command(rich_help_panel=PANEL)
def backup(
    *,
    out: Annotated[Path, typer.Option("--out", help="A folder that is empty or not there.")],
    as_json: AsJson = False,
) -> None:
    """Save tables, open work, offsets of all groups, and Redis but for the status, while all runs.

    A folder is a whole backup once it has a manifest.json.
    """
    from crewstream.app.backup import take  # noqa: PLC0415  --help must not wait for it

    done = shell.run(take(shell.begin(), out, _tell))
    records = sum(each.entries for each in done.partitions)
    size = sum(each.bytes for each in done.files)
    if as_json:
        told = {"folder": str(out), "records": records, "keys": done.keys.entries, "bytes": size}
        shell.write_json(told | {"began_at": done.began_at, "ended_at": done.ended_at})
        return
    print(f"{records} records and {done.keys.entries} keys, {size} bytes, in {out}")


@app.command(rich_help_panel=PANEL)
def restore(
    *,
    folder: Annotated[Path, typer.Option("--from", help="The folder of a backup.")],
    force: Annotated[
        bool, typer.Option("--force", help="Write on top of records that are there already.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Fill an empty Kafka, and Redis, from a backup; makes the topics as topics.yaml says.

    No process may be at work, but they may be waiting for Kafka. What Redis still has is newer than
    the backup, and stays; the status is emptied, and a projector fills it again.
    """
    from crewstream.app.restore import restore as bring_back  # noqa: PLC0415

    done = shell.run(bring_back(shell.begin(), folder, force=force, tell=_tell))
    if as_json:
        told = {"records": done.records, "keys": done.keys, "positions": done.positions}
        shell.write_json(told)
        return
    print(f"{done.records} records and {done.keys} keys restored; {done.positions} positions set")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
