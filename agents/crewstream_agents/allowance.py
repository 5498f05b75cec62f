"""How much a run may do: its calls of models and tools, counted where they are made."""

from __future__ import annotations

import functools
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from crewai import BaseLLM
from crewai.tools.base_tool import BaseTool
from crewai.tools.structured_tool import CrewStructuredTool

from crewstream_agents.cancellation import StopFlag
from crewstream_agents.failures import RunRefused
from crewstream_agents.spec import RunLimits

Method = Callable[..., Any]

EXCEEDED: Final = "limit.exceeded"

_current: ContextVar[Allowance | None] = ContextVar("crewstream_allowance", default=None)

_inside: ContextVar[frozenset[int]] = ContextVar("crewstream_allowance_inside", default=frozenset())
"""Models and tools whose call is under way: a method that calls its parent's is one call."""


class Allowance:
    """What a run has done so far; one call more than its limits allow stops it by its flag."""

    def __init__(self, limits: RunLimits, flag: StopFlag) -> None:
        self._limits, self._flag, self._lock = limits, flag, threading.Lock()
        self._taken: Counter[object] = Counter()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """What runs in here, in every thread and task that it starts, is counted."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def model_call(self, whose: Mapping[str, Any]) -> None:
        """Take one; `whose` has CrewAI's `from_agent` and `from_task`. Raises HookAborted."""
        self._take("llm", self._limits.max_llm_calls, "model calls of a run")
        agent, task = whose.get("from_agent"), whose.get("from_task")
        if agent is not None:
            role = str(getattr(agent, "role", "")).strip()
            what = f"model calls of {role!r} at one task"
            self._take((role, getattr(task, "id", None)), self._limits.max_iterations, what)

    def tool_call(self) -> None:
        """Take one. Raises HookAborted."""
        self._take("tool", self._limits.max_tool_calls, "tool calls of a run")

    def _take(self, kind: object, most: int, what: str) -> None:
        with self._lock:
            self._taken[kind] += 1
            taken = self._taken[kind]
        if taken > most:
            # Not retried: it would do the same again. A person raises the limit, or mends the crew.
            self._flag.stop(RunRefused(EXCEEDED, f"{most} {what} were made, which is the limit"))
            self._flag.check()


def counted(base: type, name: str, method: Method) -> Method:
    """A method of CrewAI's models and tools that takes from the run's allowance when it is called.

    Every other method is returned as it is.
    """
    if base not in _COUNTED:
        return method
    if name in _AWAITED:

        @functools.wraps(method)
        async def awaited(self: Any, *args: Any, **kwargs: Any) -> Any:
            with _entered(self, kwargs):
                return await method(self, *args, **kwargs)

        return awaited

    @functools.wraps(method)
    def called(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _entered(self, kwargs):
            return method(self, *args, **kwargs)

    return called


_COUNTED: Final = frozenset({BaseLLM, BaseTool, CrewStructuredTool})
_AWAITED: Final = frozenset({"acall", "ainvoke"})


@contextmanager
def _entered(callee: Any, given: Mapping[str, Any]) -> Iterator[None]:
    allowance = _current.get()
    made = id(getattr(callee, "_original_tool", None) or callee)
    if allowance is None or made in _inside.get():
        yield
        return
    token = _inside.set(_inside.get() | {made})
    try:
        if isinstance(callee, BaseLLM):
            allowance.model_call(given)
        else:
            allowance.tool_call()
        yield
    finally:
        _inside.reset(token)
