"""Where the journal meets CrewAI: the calls of models and tools, wrapped at their classes.

Outside of a journaled run nothing changes. Every name of CrewAI that is leaned on here and in the
modules beside is held by a guard test.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

import crewai
from crewai.llms.base_llm import BaseLLM
from crewai.tools.agent_tools.base_agent_tools import BaseAgentTool
from crewai.tools.base_tool import BaseTool
from crewai.tools.structured_tool import CrewStructuredTool

from crewstream_agents.journal.external import ExternalCall, is_external
from crewstream_agents.journal.llm import LlmCall
from crewstream_agents.journal.replay import Journal, current
from crewstream_agents.journal.request import parsed
from crewstream_agents.journal.tool import ToolCall, original
from crewstream_agents.measure import Answer, answers

Method = Callable[..., Any]

SUPPORTED_CREWAI: Final = "1.15."
"""The releases that the replay matrix ran against."""

WRAPPED: Final = "_crewstream_journaled"

_busy: ContextVar[frozenset[int]] = ContextVar("crewstream_journal_busy", default=frozenset())
"""Models and tools whose call is under way: a method that calls its parent's is one call."""


class SeamMoved(Exception):
    """CrewAI is not as the journal knows it; install a release that is supported."""


def install() -> None:
    """Wrap the classes that there are and, as they are made, those to come. Once per process.

    Raises SeamMoved.
    """
    if not crewai.__version__.startswith(SUPPORTED_CREWAI):
        raise SeamMoved(
            f"crewai {crewai.__version__} is installed; journals need {SUPPORTED_CREWAI}x"
        )
    for base in _WRAPS:
        for cls in _family(base):
            _wrap_methods(cls, base)
        _follow_subclasses(base)
    installed()


def installed() -> Mapping[str, int]:
    """How many methods are wrapped, by base class. Raises SeamMoved, naming one that is not."""
    counts: dict[str, int] = {}
    for base in _WRAPS:
        methods = [(cls, *found) for cls in _family(base) for found in _concrete(cls, base)]
        for cls, name, method in methods:
            if not getattr(method, WRAPPED, False):
                raise SeamMoved(f"{cls.__module__}.{cls.__qualname__}.{name} is not journaled")
        if not methods:
            raise SeamMoved(f"crewai's {base.__name__} has none of {', '.join(_WRAPS[base])}")
        counts[base.__name__] = len(methods)
    return counts


def _call(method: Method) -> Method:
    bind = _binder(method)

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        journal = _journal_for(self)
        if journal is None:
            return method(self, *args, **kwargs)
        made = LlmCall(journal, self, bind(args, kwargs))
        if made.record is not None:
            return made.replay(made.record)
        try:
            if made.must_reserve:
                made.reserve()
            made.begin()
            with _under_way(self), _listening() as told:
                result = method(self, *args, **kwargs)
        except BaseException as error:
            made.failed(error)
            raise
        made.done(result, told)
        return result

    return call


def _acall(method: Method) -> Method:
    bind = _binder(method)

    @functools.wraps(method)
    async def acall(self: Any, *args: Any, **kwargs: Any) -> Any:
        journal = _journal_for(self)
        if journal is None:
            return await method(self, *args, **kwargs)
        made = LlmCall(journal, self, bind(args, kwargs))
        if made.record is not None:
            return made.replay(made.record)
        try:
            if made.must_reserve:
                await asyncio.to_thread(made.reserve)
            made.begin()
            with _under_way(self), _listening() as told:
                result = await method(self, *args, **kwargs)
        except BaseException as error:
            await asyncio.to_thread(made.failed, error)
            raise
        await asyncio.to_thread(made.done, result, told)
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
        if not await asyncio.to_thread(made.begin):
            return made.replay()
        try:
            with _under_way(self, original(self)), made.inside():
                value = await method(self, input, *args, **kwargs)
        except BaseException as error:
            await asyncio.to_thread(made.failed, error)
            raise
        await asyncio.to_thread(made.done, value)
        return value

    return ainvoke


_WRAPS: Final[Mapping[type, Mapping[str, Callable[[Method], Method]]]] = {
    BaseLLM: {"call": _call, "acall": _acall},
    BaseTool: {"run": _run},
    CrewStructuredTool: {"invoke": _invoke, "ainvoke": _ainvoke},
}


def _made(journal: Journal, tool: Any, arguments: Any, work: Callable[[], Any]) -> Any:
    made = _tool_call(journal, tool, arguments)
    if not made.begin():
        return made.replay()
    try:
        with _under_way(tool, original(tool)), made.inside():
            value = work()
    except BaseException as error:
        made.failed(error)
        raise
    made.done(value)
    return value


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
def _listening() -> Iterator[list[Answer]]:
    """What CrewAI tells of the model's answers in here."""
    told: list[Answer] = []
    token = answers.set(told)
    try:
        yield told
    finally:
        answers.reset(token)


def _binder(method: Method) -> Callable[[tuple[Any, ...], Mapping[str, Any]], Mapping[str, Any]]:
    """The arguments of a model's call by the names that it gives them."""
    names = [name for name in inspect.signature(method).parameters if name != "self"]

    def bind(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        if args:
            given.setdefault("messages", args[0])
        return given

    return bind


def _family(base: type[Any]) -> Iterator[type[Any]]:
    """A class and all that are made from it, each once."""
    todo, seen = [base], {base}
    while todo:
        cls = todo.pop()
        yield cls
        new: list[type[Any]] = [one for one in cls.__subclasses__() if one not in seen]
        seen.update(new)
        todo += new


def _concrete(cls: type, base: type) -> Iterator[tuple[str, Method]]:
    for name in _WRAPS[base]:
        method = cls.__dict__.get(name)
        if method is not None and not getattr(method, "__isabstractmethod__", False):
            yield name, method


def _wrap_methods(cls: type, base: type) -> None:
    for name, method in _concrete(cls, base):
        if not getattr(method, WRAPPED, False):
            wrapped = _WRAPS[base][name](method)
            setattr(wrapped, WRAPPED, True)
            setattr(cls, name, wrapped)


def _follow_subclasses(base: Any) -> None:
    """Have classes wrapped that are made later: CrewAI loads its providers when they are used."""
    before = base.__dict__.get("__init_subclass__")
    if getattr(before, WRAPPED, False):
        return

    def made(cls: Any, /, **kwargs: Any) -> None:
        if before is None:
            super(base, cls).__init_subclass__(**kwargs)
        else:
            before.__func__(cls, **kwargs)
        _wrap_methods(cls, base)

    hook: Any = classmethod(made)
    setattr(hook, WRAPPED, True)
    base.__init_subclass__ = hook
