"""topics plan, apply, render: Kafka's topics are those of topics.yaml."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from crewstream.cli import shell
from crewstream.cli.shell import AsJson

if TYPE_CHECKING:
    from crewstream.config import Settings
    from crewstream.contracts.topic_plan import Plan
    from crewstream.contracts.topics import Topics

app = typer.Typer(no_args_is_help=True, help="Make Kafka's topics those of topics.yaml.")

DIFFERS = 2
Replicas = Annotated[
    int | None, typer.Option(min=1, help="Copies of every topic, instead of those in topics.yaml.")
]


@app.command()
def plan(*, replicas: Replicas = None, as_json: AsJson = False) -> None:
    """Show what differs; changes nothing. Exit code 2 when something does."""
    settings = shell.begin(replicas=replicas)
    found = shell.run(_plan(settings))
    _show(found, as_json=as_json)
    if not found.in_sync:
        raise typer.Exit(DIFFERS)


@app.command()
def apply(*, replicas: Replicas = None, as_json: AsJson = False) -> None:
    """Create and change what differs; never deletes or lowers. Exit code 2 when some is left."""
    settings = shell.begin(replicas=replicas)
    done = shell.run(_apply(settings))
    _show(done, as_json=as_json)
    if done.drift:
        raise typer.Exit(DIFFERS)


@app.command()
def render(
    *,
    cluster: Annotated[str, typer.Option(help="Name of the Kafka resource in Strimzi.")] = "kafka",
    replicas: Replicas = None,
) -> None:
    """Write the topics as Strimzi's KafkaTopic resources, in YAML."""
    import yaml  # noqa: PLC0415

    from crewstream.contracts.topic_plan import strimzi  # noqa: PLC0415

    resources = strimzi(load(shell.begin(replicas=replicas)), cluster)
    print(yaml.safe_dump_all(resources, sort_keys=False), end="")


def load(settings: Settings) -> Topics:
    """The topics of these settings."""
    from crewstream.contracts.topics import Topics  # noqa: PLC0415

    return Topics.load(
        settings.topics,
        prefix=settings.prefix,
        replicas=settings.replicas,
        added=settings.projects,
    )


async def _plan(settings: Settings) -> Plan:
    from crewstream.adapters import kafka  # noqa: PLC0415

    return await kafka.plan(load(settings), settings.kafka)


async def _apply(settings: Settings) -> Plan:
    from crewstream.adapters import kafka  # noqa: PLC0415

    planned = await _plan(settings)
    await kafka.apply(planned, settings.kafka)
    return planned


def _show(plan: Plan, *, as_json: bool) -> None:
    if as_json:
        shell.write_json({"in_sync": plan.in_sync, "differences": _lines(plan)})
    else:
        print(plan.text)


def _lines(plan: Plan) -> list[str]:
    return [] if plan.in_sync else plan.text.splitlines()
