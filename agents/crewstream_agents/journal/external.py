"""A call of a tool with an effect outside: marked, made, kept; never made again unknowingly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from crewai.utilities.string_utils import sanitize_tool_name
from typing_extensions import override

from crewstream_agents.journal.replay import Journal
from crewstream_agents.journal.request import digest
from crewstream_agents.journal.tool import ToolCall, original
from crewstream_agents.refusal import RunRefused
from crewstream_agents.tools.outcome import NOT_PERFORMED, NotPerformed, calling


def is_external(journal: Journal, tool: Any) -> bool:
    """Whether a tool is declared to have an effect outside, by itself or by its project."""
    made = original(tool)
    declared = getattr(made, "external", False) or getattr(_function(made), "external", False)
    return bool(declared) or sanitize_tool_name(tool.name) in journal.external


class ExternalCall(ToolCall):
    """One call of an external tool.

    A mark without a record means that nobody knows whether the effect happened: the tool's
    `reconcile` is asked, else the run stops and a person decides. The same after an error, unless
    it is NotPerformed: a gateway that timed out may have done it.
    """

    external = True

    def __init__(self, journal: Journal, tool: Any, arguments: Any) -> None:
        super().__init__(journal, tool, arguments)
        # The call as its tool sees it: a try after an error is still the same call.
        self._doubted = self.record is None and self.key in journal.doubtful
        self._own = journal.doubtful[self.key] if self._doubted else self.number
        self._name = f"{self.key}:{self._own}"
        self._found: Any = NOT_PERFORMED

    @property
    def idempotency_key(self) -> str:
        """The same for each try of this call, in every run and attempt of its task."""
        task = self.journal.task
        return digest(task.workflow_id, task.task_id, self._name)

    @override
    @contextmanager
    def inside(self) -> Iterator[None]:
        token = calling.set(self.idempotency_key)
        try:
            with super().inside():
                yield
        finally:
            calling.reset(token)

    @override
    def begin(self) -> bool:
        if self.record is not None:
            return False
        if self._doubted or self.journal.is_open(self._name):
            return self._unknown()
        self.journal.mark_start(self._name)
        return True

    @override
    def replay(self) -> Any:
        if self._found is not NOT_PERFORMED:
            return self._found
        if self.record is not None and self.record.is_error:
            self.journal.doubtful[self.key] = self.number
        return super().replay()

    @override
    def failed(self, error: BaseException) -> None:
        if isinstance(error, NotPerformed):
            self.journal.mark_not_performed(self._name)
            self.journal.doubtful.pop(self.key, None)
            self.journal.numbers.give_back(self.key, self.number)
            return
        self.journal.doubtful[self.key] = self._own
        super().failed(error)

    @override
    def done(self, value: Any) -> None:
        self.journal.doubtful.pop(self.key, None)
        super().done(value)

    def _unknown(self) -> bool:
        """Whether to run a call that may have had its effect already."""
        reconcile = getattr(original(self.tool), "reconcile", None)
        reconcile = reconcile or getattr(_function(original(self.tool)), "reconcile", None)
        if reconcile is not None:
            found = self._asked(reconcile)
            if found is NOT_PERFORMED:
                return True
            self.done(found)
            self._found = found
            return False
        if not self.journal.task.repeat_unknown:
            self._stop("it was started, its end is unknown, and it has no reconcile()")
        return True

    def _asked(self, reconcile: Any) -> Any:
        try:
            return reconcile(self.idempotency_key)
        except Exception as error:  # noqa: BLE001 - the tool's own; the answer stays unknown
            if self.journal.task.repeat_unknown:
                return NOT_PERFORMED
            return self._stop(f"its reconcile() failed: {error}")

    def _stop(self, why: str) -> None:
        self.journal.stop(
            RunRefused(
                "tool.unknown_outcome",
                f"nobody knows whether {self.name} was done (idempotency key"
                f" {self.idempotency_key}): {why}; look there, then approve the task to have it"
                " called again, or reject it",
            )
        )


def _function(tool: Any) -> Any:
    """What a tool made with the decorator @tool calls."""
    return getattr(tool, "func", None)
