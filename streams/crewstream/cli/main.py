"""The application: every group of verbs, and what an error looks like."""

from __future__ import annotations

import sys

import typer

from crewstream.cli import (
    advise,
    agents,
    analyse,
    analytics,
    backup,
    budget,
    dlq,
    doctor,
    drill,
    follow,
    operate,
    projects,
    rebuild,
    recorder,
    report,
    schedules,
    schemas,
    stack,
    topics,
    workflows,
)
from crewstream.errors import CrewstreamError, Misconfigured

FAILED, MISUSED = 1, 2

app = typer.Typer(
    name="crewstream",
    help="Run CrewAI crews from Kafka, exactly accounted.\n\n"
    "Exit codes: 0 done, 1 failed, 2 wrong use or topics that differ. "
    "Settings: CREWSTREAM_* in the environment or in .env, see docs/settings.md.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for group in (
    *(stack, drill, workflows, follow, analyse, advise, report, agents),
    *(operate, backup, doctor),
):
    app.add_typer(group.app)
app.add_typer(schedules.app, name="schedule", rich_help_panel="Workflows")
app.add_typer(recorder.app, name="recorder", rich_help_panel="Operate")
app.add_typer(projects.app, name="projects", rich_help_panel="Projects")
app.add_typer(dlq.app, name="dlq", rich_help_panel="Operate")
app.add_typer(rebuild.app, name="rebuild", rich_help_panel="Operate")
app.add_typer(budget.app, name="budget", rich_help_panel="Operate")
app.add_typer(analytics.app, name="analytics", rich_help_panel="Operate")
app.add_typer(topics.app, name="topics", rich_help_panel="Operate")
app.add_typer(schemas.app, name="schemas", rich_help_panel="Operate")


def main() -> None:
    """Run the command line. An error of ours is one line on stderr, never a traceback."""
    try:
        app()
    except CrewstreamError as error:
        print(f"crewstream: {error}", file=sys.stderr)
        sys.exit(MISUSED if isinstance(error, Misconfigured) else FAILED)
    except BrokenPipeError:
        # Who read our output has seen enough (`crewstream tail … | head`).
        sys.stderr.close()
        sys.exit(0)
