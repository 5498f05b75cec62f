"""results, tail: what goes over the topics, for people and for pipes."""

from __future__ import annotations

from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crewstream.cli import shell
from crewstream.cli.shell import AsJson
from crewstream.errors import InvalidTopics, Undecodable

if TYPE_CHECKING:
    from crewstream.config import Settings
    from crewstream.contracts.codec import Codec
    from crewstream.records import Inbound

app = typer.Typer()
PANEL = "Workflows"

FromBeginning = Annotated[
    bool, typer.Option("--from-beginning", help="Start with the oldest that is kept.")
]


@app.command(rich_help_panel=PANEL)
def results(
    project: Annotated[str, typer.Option("--project", help="Whose results.")],
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new ones.")] = False,
    from_beginning: FromBeginning = False,
    group: Annotated[
        str | None, typer.Option(help="Go on where this consumer group has left off.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show how workflows of a project ended.

    Everything that is kept, unless --follow (from now on), both options (everything, and on), or
    --group says otherwise. With --json one result a line.
    """
    beginning = from_beginning or not follow
    shell.run(
        _results(
            shell.begin(), project, group, beginning=beginning, follow=follow, as_json=as_json
        ),
        stopped=0,
    )


@app.command(rich_help_panel=PANEL)
def tail(
    topic: Annotated[str, typer.Argument(help="A topic, with or without the prefix.")],
    *,
    from_beginning: FromBeginning = False,
    number: Annotated[int | None, typer.Option("-n", min=1, help="Stop after so many.")] = None,
    follow: Annotated[bool, typer.Option(help="Go on at the end of what is there.")] = True,
    as_json: AsJson = False,
) -> None:
    """Show the records of a topic, decoded; what cannot be decoded is shown as such.

    With --json one record a line.
    """
    settings = shell.begin()
    shell.run(
        _tail(
            settings,
            _full(settings, topic),
            number,
            beginning=from_beginning,
            follow=follow,
            as_json=as_json,
        ),
        stopped=0,
    )


async def _results(
    settings: Settings,
    project: str,
    group: str | None,
    *,
    beginning: bool,
    follow: bool,
    as_json: bool,
) -> None:
    from crewstream.cli.workflows import show_result  # noqa: PLC0415

    start: Any = "beginning" if beginning else "now"
    client = shell.client(settings)
    async with aclosing(
        client.results(project, start=start, group=group, follow=follow)
    ) as results:
        async for finished in results:
            if as_json:
                shell.write_json(finished.model_dump(mode="json"))
            else:
                show_result(finished)


async def _tail(
    settings: Settings,
    topic: str,
    number: int | None,
    *,
    beginning: bool,
    follow: bool,
    as_json: bool,
) -> None:
    from crewstream.contracts.codec import Codec  # noqa: PLC0415
    from crewstream.contracts.schemas import Schemas  # noqa: PLC0415

    codec = Codec(Schemas.load())
    start: Any = "beginning" if beginning else "now"
    records = shell.client(settings).records(topic, start=start, follow=follow)
    left = number
    async with aclosing(records):
        async for record in records:
            _show(described(codec, record), as_json=as_json)
            if left is not None and (left := left - 1) == 0:
                return


def described(codec: Codec, record: Inbound) -> dict[str, Any]:
    """A record as JSON-ready values; `undecodable` says why there is no `event`."""
    told: dict[str, Any] = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "at": datetime.fromtimestamp(record.timestamp_ms / 1000, UTC).isoformat(),
        "key": (record.key or b"").decode(errors="backslashreplace"),
        "headers": {k: (v or b"").decode(errors="backslashreplace") for k, v in record.headers},
    }
    if record.value is None:
        return {**told, "event": None}
    try:
        event = codec.decode_any(record.value)
    except Undecodable as error:
        return {**told, "undecodable": str(error), "bytes": len(record.value)}
    return {**told, "type": type(event).__name__, "event": event.model_dump(mode="json")}


def _show(told: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        shell.write_json(told)
        return
    print(f"{told['at']} {told['topic']}[{told['partition']}]@{told['offset']} {told['key']}")
    if "undecodable" in told:
        print(f"  cannot be decoded ({told['bytes']} bytes): {told['undecodable']}")
    elif told["event"] is None:
        print("  tombstone")
    else:
        print(f"  {told['type']}")
        shell.write_fields(told["event"])


def _full(settings: Settings, topic: str) -> str:
    from crewstream.contracts.topics import Topics  # noqa: PLC0415

    topics = Topics.load(settings.topics, prefix=settings.prefix, added=settings.projects)
    prefix = f"{settings.prefix}."
    try:
        return topics.topic(prefix + topic.removeprefix(prefix)).name
    except InvalidTopics:
        known = ", ".join(each.name.removeprefix(prefix) for each in topics.all())
        raise typer.BadParameter(f"no topic {topic!r}; there are: {known}") from None
