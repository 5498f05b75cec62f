"""agents: how agents stand, by which they are chosen, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from crewstream.cli import shell
from crewstream.cli.shell import AsJson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crewstream.config import Settings
    from crewstream.domain.standings import Standing

app = typer.Typer()
PANEL = "Figures"
COLUMNS = (
    *("project_id", "crew", "task_type", "agent", "score", "confidence", "runs"),
    *("success", "first_try", "quality", "mean_s", "mean_usd"),
)


@app.command(rich_help_panel=PANEL)
def agents(
    *,
    project: Annotated[str, typer.Option(help="One project; every one without it.")] = "",
    task_type: Annotated[
        str | None, typer.Option(help='One kind of task; "" is what managers asked for.')
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show how agents stand: their scores, and the record that each one rests on.

    The score is what an attempt is expected to be worth, 0 to 1, and confidence half the width of
    its 95 % interval; docs/agents.md says how they are made. An agent that is not shown has no
    record: it is what the prior says.
    """
    at, found = shell.run(_show(shell.begin(), project))
    rows = [_row(one) for one in found if task_type in {None, one.task_type}]
    if as_json:
        shell.write_json({"published_at": at, "standings": rows})
        return
    title = f"as of {at}" if at else "nothing is published: no agent has a record, or no recorder"
    shell.write_table(COLUMNS, ([_shown(row[name]) for name in COLUMNS] for row in rows), title)


async def _show(settings: Settings, project: str) -> tuple[str, Sequence[Standing]]:
    from crewstream.adapters.redis import connect  # noqa: PLC0415  (--help must not wait for it)
    from crewstream.adapters.standings import Standings  # noqa: PLC0415

    redis = connect(settings.redis_url.get_secret_value())
    try:
        return await Standings(redis, settings.prefix).show(project)
    finally:
        await redis.aclose()


def _row(one: Standing) -> dict[str, Any]:
    record = one.record
    return {
        **one.row(),
        "success": record.success,
        "first_try": record.first_try,
        "mean_s": record.duration_ms / 1000,
        "mean_usd": record.cost_usd,
    }


def _shown(value: object) -> object:
    return f"{value:.3g}" if isinstance(value, float) else value
