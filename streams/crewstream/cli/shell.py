"""What the verbs share: settings, logging, a client, and output for people or for programs."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from crewstream.client import Client
    from crewstream.config import Settings

T = TypeVar("T")

AsJson = Annotated[bool, typer.Option("--json", help="Write JSON, for programs.")]


def begin(**options: Any) -> Settings:
    """Settings and logging of a verb; an option that is None was not given."""
    # What goes wrong is told once, by our own error; libraries would tell it three times before.
    return _begin("critical", options)


def begin_process() -> Settings:
    """Settings and logging of a process that runs for long."""
    return _begin("warning", {})


def _begin(libraries: str, options: Mapping[str, Any]) -> Settings:
    import logging  # noqa: PLC0415  --help must not wait for pydantic

    from crewstream import config, logs  # noqa: PLC0415

    settings = config.load(**{name: value for name, value in options.items() if value is not None})
    logs.configure(settings.log_format, settings.log_level, libraries=libraries)
    for sentence in config.unknown():
        logging.getLogger("crewstream.config").warning(sentence)
    return settings


def client(settings: Settings) -> Client:
    """The client of this installation."""
    from crewstream.client import Client  # noqa: PLC0415

    return Client(
        prefix=settings.prefix,
        tenant=settings.tenant,
        status_url=settings.status_url,
        connection=settings.kafka,
        topics=settings.topics,
        projects=settings.projects,
    )


def run(work: Coroutine[Any, Any, T], *, stopped: int = 130) -> T:
    """Run to the end; `stopped` is the exit code after Ctrl-C, 0 where that is the way to end."""
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        raise typer.Exit(stopped) from None


def percent(what: str = "") -> Callable[[int, int], None]:
    """Something to tell how much of a long work is done; people at a terminal see it."""
    shown = -1

    def tell(done: int, total: int) -> None:
        nonlocal shown
        now = 100 * done // max(total, 1)
        if sys.stderr.isatty() and now != shown:
            shown = now
            print(f"\r{now} %{what}", end="\n" if done == total else "", file=sys.stderr)

    return tell


def write_json(value: object) -> None:
    """One JSON document on one line; times and decimals as text."""
    print(json.dumps(value, ensure_ascii=False, default=str), flush=True)


def write_table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> None:
    """A table as wide as it needs to be; what is piped must not be cut at 80 columns."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(*columns, title=title or None, title_justify="left", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(escaped(each) for each in row))
    Console(width=None if sys.stdout.isatty() else 10_000).print(table)


def write_fields(event: Mapping[str, object]) -> None:
    """An event's fields, one a line; those that say nothing are left out."""
    for name, value in event.items():
        if value not in (None, "", [], {}):
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            print(f"    {name}: {text}")


def escaped(value: object) -> str:
    """A value as text that rich takes literally."""
    from rich.markup import escape  # noqa: PLC0415

    if value is None:
        return ""
    # Decimal itself would write nothing as 0E-9.
    return escape(f"{value:f}" if isinstance(value, Decimal) else str(value))


def write_rows(
    rows: Sequence[Mapping[str, object]], columns: Sequence[str], *, as_json: bool
) -> None:
    """Rows as one JSON array, or as a table of these columns."""
    if as_json:
        write_json(rows)
    else:
        write_table(columns, ([row.get(name) for name in columns] for row in rows))
