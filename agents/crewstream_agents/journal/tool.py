"""A tool call of a journaled run: answered from its record, or made within its terms and kept."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

from crewai.hooks.dispatch import HookAborted
from crewai.tools.tool_failure import ToolFailure
from crewai.utilities.string_utils import sanitize_tool_name

from crewstream_agents.failures import RunRefused
from crewstream_agents.journal import cache
from crewstream_agents.journal.record import TOOL, Record
from crewstream_agents.journal.replay import Journal, scope
from crewstream_agents.journal.request import tool_key
from crewstream_agents.journal.result import Encoded, decode, encode, encode_error
from crewstream_agents.limits import cache as results
from crewstream_agents.limits import tools as limits
from crewstream_agents.limits.bounded import Overdue
from crewstream_agents.limits.gate import WouldWait
from crewstream_agents.limits.steps import Step, Steps, Try, Work
from crewstream_agents.measure import tool_use

SCOPE_CHARS = 8


def original(tool: Any) -> Any:
    """The tool that CrewAI wrapped for an agent, which is what its author wrote."""
    return getattr(tool, "_original_tool", None) or tool


class ToolCall:
    """One call of a tool that may be made again: what it did is kept, an error as well.

    A model was told of the error; a tool that succeeds in the replay would change all that follows.
    """

    external = False

    def __init__(self, journal: Journal, tool: Any, arguments: Any) -> None:
        self.journal, self.tool = journal, tool
        journal.flag.check()
        self.name = sanitize_tool_name(tool.name)
        self.key, self.number = cache.taken_by(self.name) or self._new(arguments)
        self.record = self._answer()
        gate, made = journal.gate, original(tool)
        self.terms = limits.terms(gate, made, self.name, external=self.external)
        self._cached = results.place(gate, self.name, arguments) if self.terms.cache_ttl_s else None
        self._arguments = arguments
        self._notes: dict[str, str] = {}
        self._use = tool_use.get()
        self._started, self._clock = time.time(), time.perf_counter()

    def steps(self) -> Steps:
        """The call: from its record, refused, from the cache, or made. Raises what it raised."""
        if self.record is None:
            told = limits.refusal(self.journal.gate, self.name)
            if told is None and (yield Work(self._look_up)):
                return decode(self._found)
            told = told or (yield from self._too_often())
            if told is not None:
                failure = told
                yield Work(lambda: self._keep_failure(failure))
                return told
        if not (yield Work(self.begin)):
            return self.replay()
        try:
            with self.inside():
                value = yield from self._made()
        except BaseException as error:
            failed = error
            yield Work(lambda: self.failed(failed))
            raise
        yield Work(lambda: self.done(value))
        return value

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
        result = encode(value, None, self._shown())
        if self._cached is not None and not failed and self._may_cache(value):
            self._cached.put(json.dumps(result).encode(), self.terms.cache_ttl_s)
        self._keep(result, failed=failed, error_type=limits.code_of(value))

    def failed(self, error: BaseException) -> None:
        """Keep the error, unless it is the end of the run. Raises HookAborted. Blocks."""
        if isinstance(error, HookAborted) or not isinstance(error, Exception):
            self.journal.numbers.give_back(self.key, self.number)
            return
        self.journal.flag.check()
        self._keep(
            encode_error(error), error_type=limits.TIMEOUT if isinstance(error, Overdue) else ""
        )

    def _answer(self) -> Record | None:
        """An earlier run's record; not that of a refusal which holds no longer."""
        record = self.journal.answer(self.key, self.number)
        if record is not None and record.error_type == limits.NOT_ALLOWED:
            return record if limits.refusal(self.journal.gate, self.name) else None
        return record

    def _too_often(self) -> Generator[Step, Any, ToolFailure | None]:
        """Wait for the tool's rate: what a model is told when the run ends before."""
        gate, rate = self.journal.gate, self.terms.rate
        if not rate.requests_per_minute:
            return None
        try:
            waited_s = yield from gate.enter(f"tool:{self.name}", rate, 0, gate.left_s)
        except WouldWait as full:
            return limits.too_often(full)
        if waited_s > 0:
            self._notes["waited_ms"] = f"{waited_s * 1000:.0f}"
        return None

    def _keep_failure(self, told: ToolFailure) -> None:
        code = limits.code_of(told)
        if code == limits.NOT_ALLOWED:
            self._notes["refused"] = "true"
        self._keep(encode(told, None, self._shown()), failed=True, error_type=code)
        if code == limits.NOT_ALLOWED and self.journal.gate.policy.tools.stop_when_refused:
            self.journal.stop(RunRefused(code, told.message))

    def _look_up(self) -> bool:
        """Whether the cache has a result; a hit is kept as the call's own."""
        if self._cached is None:
            return False
        found = self._cached.get()
        self._notes["cache"] = "miss" if found is None else "hit"
        if found is None:
            return False
        self._found: Encoded = json.loads(found)
        self._keep(self._found)
        return True

    def _made(self) -> Steps:
        self._started, self._clock = time.time(), time.perf_counter()
        try:
            return (yield Try(self.tool))
        except Overdue as late:
            if self.external:
                raise  # nobody knows whether it still has its effect
            return limits.overdue(late)

    def _may_cache(self, value: Any) -> bool:
        """A tool's own say over CrewAI's cache counts here as well."""
        asked = getattr(original(self.tool), "cache_function", None)
        return asked is None or bool(asked(self._arguments, value))

    def _new(self, arguments: Any) -> tuple[str, int]:
        key = tool_key(self.journal.where(), self.name, arguments)
        return key, self.journal.numbers.take(key)

    def _keep(self, result: Encoded, *, failed: bool = False, error_type: str = "") -> None:
        record = Record(
            kind=TOOL,
            result=result,
            started=self._started,
            duration_ms=(time.perf_counter() - self._clock) * 1000,
            agent=self._agent(),
            tool=self.name,
            failed=failed,
            error_type=error_type,
            attributes=self._notes,
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
