"""CrewAI's own cache of tool results in a journaled run: what it answered, it answers again.

Calls that are alike may run at once, so whether the second finds the result of the first is chance.
A look into the cache takes the number of the call; a hit is kept under it, as a call would be.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from crewstream_agents.journal.record import HOST, Record
from crewstream_agents.journal.replay import Journal
from crewstream_agents.journal.request import parsed, tool_key
from crewstream_agents.journal.result import decode, encode

_missed: ContextVar[tuple[str, str, int] | None] = ContextVar("crewstream_missed", default=None)
"""A call that the cache did not answer and that comes next: its tool, key and number."""


def looked_up(journal: Journal, tool: str, text: str, look: Callable[[], Any]) -> Any:
    """What the cache has of a call, None for nothing. Raises HookAborted. Blocks."""
    key = tool_key(journal.where(), tool, parsed(text or "{}"))
    number = journal.numbers.take(key)
    record = journal.answer(key, number)
    if record is None:
        value = look()
        if value is not None:
            journal.keep(key, number, Record(HOST, encode(value), time.time()))
            return value
    elif record.kind == HOST:
        return decode(record.result)
    _missed.set((tool, key, number))
    return None


def taken_by(tool: str) -> tuple[str, int] | None:
    """The key and number that the look into the cache took for the call of this tool."""
    missed = _missed.get()
    if missed is None or missed[0] != tool:
        return None
    _missed.set(None)
    return missed[1:]
