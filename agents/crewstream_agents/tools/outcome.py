"""What a tool with an effect outside can say and ask: was it done, and under which key."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

from typing_extensions import override


class _NotPerformed:
    @override
    def __repr__(self) -> str:
        return "NOT_PERFORMED"


NOT_PERFORMED: Final = _NotPerformed()
"""What a tool's `reconcile(key)` returns when the effect certainly did not happen."""


class NotPerformed(Exception):
    """A tool raises it to say that its effect certainly did not happen: it may be tried again."""


calling: ContextVar[str | None] = ContextVar("crewstream_idempotency_key", default=None)


def idempotency_key() -> str | None:
    """Inside an external tool: the key of this call, the same however often it is tried.

    Give it to what is called, which then does it once. None outside of a journaled run.
    """
    return calling.get()
