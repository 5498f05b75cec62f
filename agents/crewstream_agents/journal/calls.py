"""The calls of CrewAI that a journal takes part in: models, tools, and the cache of tool results.

Outside of a journaled run nothing changes. Every name of CrewAI that is leaned on here and in the
modules beside is held by a guard test.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from crewai.agents.agent_executor import AgentExecutor
from crewai.agents.cache.cache_handler import CacheHandler
from crewai.llms.base_llm import BaseLLM
from crewai.tools.agent_tools.base_agent_tools import BaseAgentTool
from crewai.tools.base_tool import BaseTool
from crewai.tools.structured_tool import CrewStructuredTool
from crewai.utilities.agent_utils import extract_tool_call_info

from crewstream_agents.journal import cache
from crewstream_agents.journal.external import ExternalCall, is_external
from crewstream_agents.journal.llm import LlmCall
from crewstream_agents.journal.replay import Journal, current, place
from crewstream_agents.journal.request import parsed
from crewstream_agents.journal.tool import ToolCall, original
from crewstream_agents.limits.bounded import awithin, within
from crewstream_agents.limits.serving import alone
from crewstream_agents.limits.steps import adrive, drive
from crewstream_agents.measure import answers, notes

Method = Callable[..., Any]

_busy: ContextVar[frozenset[int]] = ContextVar("crewstream_journal_busy", default=frozenset())
"""Models and tools whose call is under way: a method that calls its parent's is one call."""


def _call(method: Method) -> Method:
    bind = _binder(method)

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        journal = _journal_for(self)
        if journal is None:
            return method(self, *args, **kwargs)
        given = bind(args, kwargs)
        made = LlmCall(journal, self, given)
        if made.record is not None:
            return made.replay(made.record)

        def ask(one: Any) -> Any:
            made.begin(one)
            with _under_way(self, one), alone(one, self):
                work = functools.partial(method, self, *args, **kwargs)
                return made.limited(one, work if one is self else lambda: one.call(**given))

        try:
            if made.must_reserve:
                made.reserve()
            with _listening(made):
                result = drive(made.steps(), journal.flag, ask)
        except BaseException as error:
            made.failed(error)
            raise
        made.done(result)
        return result

    return call


def _acall(method: Method) -> Method:
    bind = _binder(method)

    @functools.wraps(method)
    async def acall(self: Any, *args: Any, **kwargs: Any) -> Any:
        journal = _journal_for(self)
        if journal is None:
            return await method(self, *args, **kwargs)
        given = bind(args, kwargs)
        made = LlmCall(journal, self, given)
        if made.record is not None:
            return made.replay(made.record)

        async def ask(one: Any) -> Any:
            made.begin(one)
            with _under_way(self, one), alone(one, self):
                work = method(self, *args, **kwargs) if one is self else one.acall(**given)
                return await made.alimited(one, work)

        try:
            if made.must_reserve:
                await asyncio.to_thread(made.reserve)
            with _listening(made):
                result = await adrive(made.steps(), journal.flag, ask)
        except BaseException as error:
            await asyncio.to_thread(made.failed, error)
            raise
        await asyncio.to_thread(made.done, result)
        return result

    return acall


def _run(method: Method) -> Method:
    @functools.wraps(method)
    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        journal = _journal_for_tool(self)
        if journal is None:
            return method(self, *args, **kwargs)
        arguments = {"args": args, **kwargs} if args else kwargs
        return _made(journal, self, arguments, lambda: method(self, *args, **kwargs))

    return run


def _invoke(method: Method) -> Method:
    @functools.wraps(method)
    def invoke(self: Any, input: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: A002 - CrewAI's
        journal = _journal_for_tool(self)
        if journal is None:
            return method(self, input, *args, **kwargs)
        return _made(journal, self, parsed(input), lambda: method(self, input, *args, **kwargs))

    return invoke


def _ainvoke(method: Method) -> Method:
    @functools.wraps(method)
    async def ainvoke(self: Any, input: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: A002
        journal = _journal_for_tool(self)
        if journal is None:
            return await method(self, input, *args, **kwargs)
        made = _tool_call(journal, self, parsed(input))

        async def do(tool: Any) -> Any:
            with _under_way(tool, original(tool)):
                return await awithin(
                    made.terms.timeout_s, made.name, method(self, input, *args, **kwargs)
                )

        return await adrive(made.steps(), journal.flag, do)

    return ainvoke


def _single(method: Method) -> Method:
    @functools.wraps(method)
    def single(self: Any, tool_call: Any) -> Any:
        if current.get() is None:
            return method(self, tool_call)
        token = place.set(_place(list(self.state.messages), tool_call))
        try:
            return method(self, tool_call)
        finally:
            place.reset(token)

    return single


def _read(method: Method) -> Method:
    @functools.wraps(method)
    def read(self: Any, tool: str, input: str) -> Any:  # noqa: A002 - CrewAI's
        journal = current.get()
        if journal is None:
            return method(self, tool, input)
        return cache.looked_up(journal, tool, input, lambda: method(self, tool, input))

    return read


WRAPS: Final[Mapping[type, Mapping[str, Callable[[Method], Method]]]] = {
    BaseLLM: {"call": _call, "acall": _acall},
    BaseTool: {"run": _run},
    CrewStructuredTool: {"invoke": _invoke, "ainvoke": _ainvoke},
    AgentExecutor: {"_execute_single_native_tool_call": _single},
    CacheHandler: {"read": _read},
}


def _place(messages: Sequence[Mapping[str, Any]], tool_call: Any) -> int | None:
    """The index of a tool call in the model's last answer, by the id that CrewAI knows it by."""
    told: Sequence[Mapping[str, Any]] = next(
        (calls for one in reversed(messages) if (calls := one.get("tool_calls"))), ()
    )
    info = extract_tool_call_info(tool_call)
    return next((i for i, one in enumerate(told) if info and one.get("id") == info[0]), None)


def _made(journal: Journal, tool: Any, arguments: Any, work: Callable[[], Any]) -> Any:
    made = _tool_call(journal, tool, arguments)

    def do(tool: Any) -> Any:
        with _under_way(tool, original(tool)):
            return within(made.terms.timeout_s, made.name, work)

    return drive(made.steps(), journal.flag, do)


def _tool_call(journal: Journal, tool: Any, arguments: Any) -> ToolCall:
    kind = ExternalCall if is_external(journal, tool) else ToolCall
    return kind(journal, tool, arguments)


def _journal_for(callee: Any) -> Journal | None:
    """The journal of this call; None for one outside of a run, or inside of the same call."""
    return None if id(callee) in _busy.get() else current.get()


def _journal_for_tool(tool: Any) -> Journal | None:
    """Delegation is made again: the calls of the agent that it asks are journaled one by one."""
    made = original(tool)
    if isinstance(made, BaseAgentTool) or id(made) in _busy.get():
        return None
    return _journal_for(tool)


@contextmanager
def _under_way(*callees: Any) -> Iterator[None]:
    token = _busy.set(_busy.get() | {id(one) for one in callees})
    try:
        yield
    finally:
        _busy.reset(token)


@contextmanager
def _listening(made: LlmCall) -> Iterator[None]:
    """What CrewAI tells of the model's answers in here is the call's."""
    told, noted = answers.set(made.told), notes.set(made.notes)
    try:
        yield
    finally:
        notes.reset(noted)
        answers.reset(told)


def _binder(method: Method) -> Callable[[tuple[Any, ...], Mapping[str, Any]], Mapping[str, Any]]:
    """The arguments of a model's call by the names that it gives them."""
    names = [name for name in inspect.signature(method).parameters if name != "self"]

    def bind(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        if args:
            given.setdefault("messages", args[0])
        return given

    return bind
