"""recorder, recorder reingest: what is measured goes to ClickHouse, and goes there once more."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from crewstream.cli import shell
from crewstream.cli.dlq import moment
from crewstream.cli.shell import AsJson

if TYPE_CHECKING:
    from crewstream.app.reingest import Done, Wanted

app = typer.Typer(help="Run a recorder, or record once more what Kafka still has.")

Topic = Annotated[
    str, typer.Option("--topic", help="metrics, workflow.state or dead-letters; prefix optional.")
]
FromOffset = Annotated[
    int | None, typer.Option("--from-offset", min=0, help="From this offset on; 0: everything.")
]
Since = Annotated[str, typer.Option(help="From this time on: ISO 8601, or an age such as 2h.")]
Partition = Annotated[int | None, typer.Option(min=0, help="Of this partition; else of all.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be recorded.")]


@app.callback(invoke_without_command=True)
def recorder(context: typer.Context) -> None:
    """Run a recorder: everything that is measured goes to ClickHouse."""
    if context.invoked_subcommand is not None:
        return
    from crewstream import app as root  # noqa: PLC0415

    raise typer.Exit(root.run("recorder", shell.begin_process()))


@app.command()
def reingest(
    *,
    topic: Topic,
    from_offset: FromOffset = None,
    since: Since = "",
    partition: Partition = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Record once more what a topic holds, up to its present end.

    For rows that were lost or deleted, and columns that were added since. Recorders may run
    meanwhile, and it may be repeated: a row replaces itself by its key and is never counted twice.
    Rows older than their table keeps are gone at its next merge.
    """
    from crewstream.app.reingest import Wanted  # noqa: PLC0415

    wanted = Wanted(topic, partition, from_offset, moment(since, "--since"))
    done = shell.run(_reingest(wanted, dry_run=dry_run))
    if as_json:
        shell.write_json(asdict(done))
        return
    rows = [
        (number, span.start, span.end, span.end - span.start)
        for number, span in sorted(done.spans.items())
    ]
    shell.write_table(("partition", "from", "to", "offsets"), rows, title=done.topic)
    if dry_run:
        print("nothing was recorded: --dry-run")
    else:
        print(f"{done.records} records, {done.refused} of them of no use")


async def _reingest(wanted: Wanted, *, dry_run: bool) -> Done:
    from crewstream.app.reingest import reingest as run  # noqa: PLC0415

    return await run(shell.begin(), wanted, shell.percent(), dry_run=dry_run)
