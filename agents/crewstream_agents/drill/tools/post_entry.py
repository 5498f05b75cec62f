"""A tool with an effect outside, which must happen once."""

from __future__ import annotations

import time

from pydantic import BaseModel, Field
from typing_extensions import override

from crewstream_agents.drill import traces
from crewstream_agents.tools import NOT_PERFORMED, idempotency_key
from crewstream_agents.tools.base import MeasuredTool

# Long enough for a kill to fall between the effect and its record.
ANSWERS_AFTER_S = 0.2


class Entry(BaseModel):
    """What to post."""

    entry: str = Field(description="What to post")


class PostEntry(MeasuredTool):
    """Posts an entry to a book that takes whatever it is given, as often as it is given."""

    name: str = "post_entry"
    description: str = "Post one entry to the book"
    args_schema: type[BaseModel] = Entry
    external: bool = True

    @override
    def _run(self, entry: str) -> str:
        traces.leave(traces.POSTED, entry, idempotency_key() or "", time.time())
        time.sleep(ANSWERS_AFTER_S)
        return _answer(entry)

    def reconcile(self, key: str) -> object:
        """What the call with this key has posted, for a run that does not know whether it had."""
        found = [one["about"] for one in traces.left() if one["key"] == key]
        return _answer(found[0]) if found else NOT_PERFORMED


def _answer(entry: str) -> str:
    return f"fact:{entry}"
