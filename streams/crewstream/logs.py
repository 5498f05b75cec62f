"""Logging: one line an event, with the ids it is about; readable on a terminal, JSON otherwise."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Literal, TextIO

import structlog
from structlog.typing import Processor

# Libraries that tell at INFO what only their authors want to know.
NOISY = {
    "aiokafka",
    "faust",
    "mode",
    "aiohttp",
    "asyncio",
    "urllib3",
    "clickhouse_connect",
    "matplotlib",
}
# While a server is away its clients say the same many times a second.
REPEATED_AFTER_S = 30.0
MOST_REMEMBERED = 1000


def configure(
    log_format: Literal["auto", "console", "json"] = "auto",
    level: str = "info",
    *,
    libraries: str = "warning",
    stream: TextIO | None = None,
) -> None:
    """Send every log record, ours or a library's, to `stream` (stderr), one line each.

    Modules of ours log with the standard library (`logging.getLogger(__name__)`), fields as
    `extra={…}`; ids that hold for all that happens within are bound by `about`. `libraries` is
    the least that noisy ones may say.
    """
    stream = stream or sys.stderr
    as_json = log_format == "json" or (log_format == "auto" and not stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_formatter(as_json=as_json, colors=stream.isatty()))
    handler.addFilter(_at_least(getattr(logging, libraries.upper())))
    handler.addFilter(_seldom())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(capture=True)


def about(**ids: str) -> AbstractContextManager[None]:
    """Bind ids (`workflow_id`, `task_id`, `tenant_id`, …) to every line that is logged within."""
    return structlog.contextvars.bound_contextvars(**{k: v for k, v in ids.items() if v})


def _at_least(level: int) -> Callable[[logging.LogRecord], bool]:
    # Not by their loggers' levels: some libraries set those themselves when they are imported.
    def passes(record: logging.LogRecord) -> bool:
        return record.levelno >= level or record.name.partition(".")[0] not in NOISY

    return passes


def _seldom() -> Callable[[logging.LogRecord], bool]:
    """What a noisy library says again within a while of the same kind is left out."""
    last_said_s: dict[tuple[str, str], float] = {}

    def passes(record: logging.LogRecord) -> bool:
        if record.name.partition(".")[0] not in NOISY:
            return True
        said = record.name, str(record.msg)
        if record.created - last_said_s.get(said, -REPEATED_AFTER_S) < REPEATED_AFTER_S:
            return False
        if len(last_said_s) > MOST_REMEMBERED:
            last_said_s.clear()
        last_said_s[said] = record.created
        return True

    return passes


def _formatter(*, as_json: bool, colors: bool) -> logging.Formatter:
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
        if as_json
        else [
            # Repr: an id of a stranger may hold what a terminal would obey.
            structlog.dev.ConsoleRenderer(
                colors=colors,
                exception_formatter=structlog.dev.plain_traceback,
                repr_native_str=True,
            )
        ]
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )
