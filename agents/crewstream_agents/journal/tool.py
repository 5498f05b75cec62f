"""A tool call of a journaled run: answered from its record, or made and kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from crewai.hooks.dispatch import HookAborted
from crewai.tools.tool_failure import ToolFailure
from crewai.utilities.string_utils import sanitize_tool_name

from crewstream_agents.journal import cache
from crewstream_agents.journal.record import TOOL, Record
from crewstream_agents.journal.replay import Journal, scope
from crewstream_agents.journal.request import tool_key
from crewstream_agents.journal.result import Encoded, decode, encode, encode_error
from crewstream_agents.measure import tool_use

SCOPE_CHARS = 8


def original(tool: Any) -> Any:
    """The tool that CrewAI wrapped for an agent, which is what its author wrote."""
    return getattr(tool, "_original_tool", None) or tool


class ToolCall:
    """One call of a tool that may be made again: what it did is kept, an error as well.

    A model was told of the error; a tool that succeeds in the replay would change all that follows.
    """

    def __init__(self, journal: Journal, tool: Any, arguments: Any) -> None:
        self.journal, self.tool = journal, tool
        journal.flag.check()
        self.name = sanitize_tool_name(tool.name)
        self.key, self.number = cache.taken_by(self.name) or self._new(arguments)
        self.record = journal.answer(self.key, self.number)
        self._use = tool_use.get()
        self._started, self._clock = time.time(), time.perf_counter()

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Models that the tool asks in here are asked on its behalf."""
        token = scope.set(f"{scope.get()}/{self.key[-SCOPE_CHARS:]}")
        try:
            yield
        finally:
            scope.reset(token)

    def begin(self) -> bool:
        """Whether the tool has to run. Raises HookAborted. Blocks."""
        return self.record is None

    def replay(self) -> Any:
        """What an earlier run's call returned. Raises what it raised."""
        if self.record is None:
            raise LookupError(self.key)
        self.journal.replayed(self.key, self.number, self.record, self._agent())
        made = original(self.tool)
        for one in (self.tool,) if made is self.tool else (self.tool, made):
            if getattr(one, "max_usage_count", None) is not None:
                one.current_usage_count += 1
        return decode(self.record.result)

    def done(self, value: Any) -> None:
        """Keep the result. Raises HookAborted. Blocks."""
        failed = isinstance(value, ToolFailure)
        self._keep(encode(value, None, self._shown()), failed=failed)

    def failed(self, error: BaseException) -> None:
        """Keep the error, unless it is the end of the run. Raises HookAborted. Blocks."""
        if isinstance(error, HookAborted) or not isinstance(error, Exception):
            self.journal.numbers.give_back(self.key, self.number)
            return
        self.journal.flag.check()
        self._keep(encode_error(error))

    def _new(self, arguments: Any) -> tuple[str, int]:
        key = tool_key(self.journal.where(), self.name, arguments)
        return key, self.journal.numbers.take(key)

    def _keep(self, result: Encoded, *, failed: bool = False) -> None:
        record = Record(
            kind=TOOL,
            result=result,
            started=self._started,
            duration_ms=(time.perf_counter() - self._clock) * 1000,
            agent=self._agent(),
            tool=self.name,
            failed=failed,
        )
        self.journal.keep(self.key, self.number, record)

    def _agent(self) -> str:
        """Who called, as CrewAI has just told; from here on this call is ours to measure."""
        if self._use is None:
            return ""
        self._use.journaled = True
        return self._use.agent

    def _shown(self) -> Callable[[Any], str]:
        def shown(value: Any) -> str:
            try:
                return str(self.tool.format_output_for_agent(value))
            except Exception:  # noqa: BLE001 - a formatter of the tool's own
                return str(value)

        return shown
