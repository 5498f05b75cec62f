"""dlq list, show, replay, discard: records that could not be used, and what becomes of them."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from crewstream.cli import letters, shell
from crewstream.cli.shell import AsJson
from crewstream.errors import Invalid

if TYPE_CHECKING:
    from crewstream.app.letters import DeadLetters, Filed, Wanted

app = typer.Typer(
    no_args_is_help=True,
    help="Look at dead letters, send them again to where they came from, or put them aside.",
)

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

Ids = Annotated[list[str] | None, typer.Argument(help="Letters by id; none: by the options.")]
OfTopic = Annotated[
    str, typer.Option("--topic", help="That came from this topic; the prefix may be left out.")
]
OfType = Annotated[str, typer.Option("--error-type", help="With this kind of error.")]
Since = Annotated[str, typer.Option(help="That died since then: ISO 8601, or an age such as 2h.")]
Until = Annotated[str, typer.Option(help="That died before then: ISO 8601, or an age.")]
Tenant = Annotated[str, typer.Option(help="Of this tenant, by the record's headers.")]
Workflow = Annotated[str, typer.Option(help="Of this workflow, by the record's headers or key.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it; else it is only shown.")]


@app.command("list")
def list_(
    *,
    topic: OfTopic = "",
    error_type: OfType = "",
    since: Since = "",
    until: Until = "",
    tenant: Tenant = "",
    workflow: Workflow = "",
    limit: Limit = 50,
    everything: Annotated[
        bool, typer.Option("--all", help="Also those that were replayed or discarded.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List dead letters, newest first: those that nothing was done about yet."""
    wanted = _wanted(
        (),
        topic=topic,
        error_type=error_type,
        since=since,
        until=until,
        tenant=tenant,
        workflow=workflow,
        marked=everything,
    )
    found = shell.run(_letters().find(wanted))
    if as_json:
        shell.write_json([letters.told(each) for each in found[:limit]])
        return
    letters.table(found[:limit])
    if len(found) > limit:
        print(f"{len(found) - limit} more: --limit, or look for less", file=sys.stderr)


@app.command()
def show(
    letter: Annotated[str, typer.Argument(help="Its id, or PARTITION@OFFSET.")],
    *,
    raw: Annotated[
        bool, typer.Option("--raw", help="Write the value to stdout as it came, nothing else.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show one letter: where it was, why it died, its headers, its value as far as it is readable.

    A value that one of our schemas reads is shown decoded, any other as bytes.
    """
    filed, record = shell.run(_letters().one(letter))
    if raw:
        sys.stdout.buffer.write(record.value or b"")
    elif as_json:
        shell.write_json(letters.told(filed) | letters.content(record))
    else:
        letters.write(filed, record)


@app.command()
def replay(
    ids: Ids = None,
    *,
    topic: OfTopic = "",
    error_type: OfType = "",
    since: Since = "",
    until: Until = "",
    tenant: Tenant = "",
    workflow: Workflow = "",
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="At most.")] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also those that were replayed or discarded.")
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Send letters again to where they came from; without --yes only show which, oldest first.

    Key, value and headers are those of the original, with `x-replayed-from` and `x-replays` added.
    A letter is replayed once, unless --again says otherwise. One that dies again is a new letter.
    """
    wanted = _wanted(
        ids or (),
        topic=topic,
        error_type=error_type,
        since=since,
        until=until,
        tenant=tenant,
        workflow=workflow,
        marked=again,
    )
    dead = _letters()
    chosen = _chosen(dead, wanted, limit)
    refused = {each.letter.id: why for each in chosen if (why := dead.refusal(each))}
    good = [each for each in chosen if each.letter.id not in refused]
    if as_json:
        done = shell.run(dead.replay(good)) if yes else 0
        shell.write_json(
            {"letters": [letters.told(each) for each in good], "refused": refused, "replayed": done}
        )
        return
    letters.table(good)
    for name, why in refused.items():
        print(f"{name} cannot be replayed: {why}", file=sys.stderr)
    if not yes:
        print(f"{len(good)} would be replayed; --yes does it")
        return
    print(f"{shell.run(dead.replay(good))} replayed")


@app.command()
def discard(
    ids: Ids = None,
    *,
    topic: OfTopic = "",
    error_type: OfType = "",
    since: Since = "",
    until: Until = "",
    tenant: Tenant = "",
    workflow: Workflow = "",
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="At most.")] = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Put letters aside, so that `list` and `replay` leave them out; without --yes only show which.

    Their bytes stay on the topic for as long as it keeps them.
    """
    wanted = _wanted(
        ids or (),
        topic=topic,
        error_type=error_type,
        since=since,
        until=until,
        tenant=tenant,
        workflow=workflow,
        marked=False,
    )
    dead = _letters()
    chosen = _chosen(dead, wanted, limit)
    if as_json:
        done = shell.run(dead.discard(chosen)) if yes else 0
        shell.write_json({"letters": [letters.told(each) for each in chosen], "discarded": done})
        return
    letters.table(chosen)
    if not yes:
        print(f"{len(chosen)} would be discarded; --yes does it")
        return
    print(f"{shell.run(dead.discard(chosen))} discarded")


def _letters() -> DeadLetters:
    from crewstream.app.letters import DeadLetters  # noqa: PLC0415  --help must not wait for it

    return DeadLetters(shell.begin())


def _wanted(
    ids: Sequence[str],
    *,
    topic: str,
    error_type: str,
    since: str,
    until: str,
    tenant: str,
    workflow: str,
    marked: bool,
) -> Wanted:
    from crewstream.app.letters import Wanted  # noqa: PLC0415

    return Wanted(
        ids=tuple(ids),
        topic=topic,
        error_type=error_type,
        since=moment(since, "--since"),
        until=moment(until, "--until"),
        tenant=tenant,
        workflow=workflow,
        marked=marked,
    )


def _chosen(dead: DeadLetters, wanted: Wanted, limit: int | None) -> list[Filed]:
    """The letters, oldest first. Raises Invalid: one that was named is not there, or has a mark."""
    found = shell.run(dead.find(wanted))[::-1]
    missing = set(wanted.ids) - {each.letter.id for each in found}
    if missing:
        raise Invalid(
            f"no such letters, or something was done about them: {', '.join(sorted(missing))};"
            " see `crewstream dlq list --all`"
        )
    return found[:limit]


def moment(text: str, option: str) -> datetime | None:
    """A time from ISO 8601 (UTC unless it says otherwise) or an age: 30s, 15m, 2h, 7d."""
    if not text:
        return None
    if age := re.fullmatch(r"(\d{1,9})([smhd])", text):
        return datetime.now(UTC) - timedelta(**{UNITS[age[2]]: int(age[1])})
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        told = f"{text!r} is neither ISO 8601 nor an age such as 2h"
        raise typer.BadParameter(told, param_hint=option) from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
