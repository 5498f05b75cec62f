"""drill: kill everything on a scratch installation, and count what came of it."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crewstream.cli import shell

if TYPE_CHECKING:
    from crewstream.drill.plan import Kind
    from crewstream.drill.report import Report

app = typer.Typer()
SHOWN_NAMES = 5
BAD = 1
INTERRUPTED = 130


@app.command(rich_help_panel="On this machine")
def drill(
    *,
    workflows: Annotated[int, typer.Option(min=1, help="How many to ask for.")] = 200,
    kills: Annotated[int, typer.Option(min=0, help="How many faults to inject.")] = 20,
    seed: Annotated[
        int | None, typer.Option(help="Decides what is asked and struck; to replay a drill.")
    ] = None,
    only: Annotated[
        str,
        typer.Option(metavar="KINDS", help="Kinds of faults, joined by commas; all unless said."),
    ] = "",
    brokers: Annotated[int, typer.Option(min=1, max=3, help="Kafka brokers.")] = 1,
    latency_ms: Annotated[
        int, typer.Option(min=0, help="How long the model takes for an answer, on average.")
    ] = 300,
    as_json: shell.AsJson = False,
    keep: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Keep logs and data there.")
    ] = None,
) -> None:
    """Kill workers, coordinators, Kafka, Valkey, ClickHouse and the network under load, and count.

    On an installation of its own in a temporary folder; needs no key and no network. The exit code
    is 0 only when nothing was lost, duplicated or paid twice.
    """
    from crewstream.config import cache_home  # noqa: PLC0415  (--help must not wait for all this)
    from crewstream.drill import session  # noqa: PLC0415

    shell.begin()
    folder = keep or Path(tempfile.mkdtemp(prefix="crewstream-drill-"))
    options = session.Options(
        seed=random.randrange(2**31) if seed is None else seed,  # noqa: S311  (nothing secret)
        workflows=workflows,
        kills=kills,
        kinds=_kinds(only),
        brokers=brokers,
        latency_ms=latency_ms,
        folder=folder,
        cache_dir=cache_home(),
    )
    good = False
    try:
        report = shell.run(_until_told(session.drill(options, _say)))
        good = report.good
    finally:
        if keep is None and good:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            _say(f"logs and data are in {folder}")
    if as_json:
        shell.write_json(report.document())
    else:
        _show(report)
    raise typer.Exit(0 if good else BAD)


async def _until_told(work: Coroutine[Any, Any, Report]) -> Report:
    """The report; after SIGINT or SIGTERM this process exits, when all that it started has ended.

    Not left to Python: who is started in the background of a shell has SIGINT ignored.
    """
    task = asyncio.ensure_future(work)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        raise typer.Exit(INTERRUPTED) from None


def _kinds(only: str) -> Sequence[Kind]:
    from crewstream.drill.plan import Kind  # noqa: PLC0415

    try:
        return [Kind(word.strip()) for word in only.split(",")] if only else list(Kind)
    except ValueError as error:
        known = ", ".join(Kind)
        raise typer.BadParameter(f"{error}; there are: {known}", param_hint="--only") from None


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _show(report: Report) -> None:
    """The figures, those that are wrong with names; then how long each kind of fault was felt."""
    from crewstream.drill.recovery import MEANING  # noqa: PLC0415

    rows = [
        (line.about, line.figure, "" if line.wanted is None else line.wanted, _verdict(line.good))
        for line in report.lines()
    ]
    shell.write_table(("counted", "figure", "must be", ""), rows)
    for line in report.lines():
        if not line.good and line.names:
            print(f"\n{line.about}: {', '.join(line.names[:SHOWN_NAMES])}")
    if report.recovery:
        print()
        felt = [
            (kind, found.faults, found.felt, found.p50_s, found.max_s, MEANING[kind])
            for kind, found in report.recovery.items()
        ]
        shell.write_table(("fault", "times", "felt", "p50 s", "max s", "from the fault"), felt)
    verdict = "good: nothing lost, duplicated or paid twice" if report.good else "NOT good"
    print(f"\n{verdict}; seed {report.seed}, {report.took_s:.0f} s")


def _verdict(good: bool) -> str:
    return "" if good else "WRONG"
