"""What crews for an earlier CrewAI ask of it that this one refuses, taken as they meant it.

Only for projects that ask for it; each rule says in the log when it acts.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import wraps
from importlib import import_module
from types import ModuleType
from typing import Any, Final

from crewai import Agent, BaseLLM, Crew, Task
from crewai.tools import BaseTool, tool
from crewai.tools.base_tool import Tool

logger = logging.getLogger(__name__)

TOOLS: Final = "crewai_tools"
"""Where BaseTool and @tool were before crewai.tools had them."""

INSTALLED: Final = "_crewstream_compat"

_active: ContextVar[bool] = ContextVar("crewstream_compat", default=False)


@contextlib.contextmanager
def rules(wanted: bool) -> Iterator[None]:
    """The rules hold in here, in every thread and task that it starts, where they are wanted."""
    if not wanted:
        yield
        return
    install()
    _lend_base_tool()
    token = _active.set(True)
    try:
        yield
    finally:
        _active.reset(token)


def install() -> None:
    """Have the classes of CrewAI look at what they are given; once per process."""
    for cls in (Agent, Crew, Task):
        made = cls.__init__
        if not getattr(made, INSTALLED, False):
            setattr(cls, "__init__", _looking(made))  # noqa: B010 - mypy minds a plain assignment


def mended(kind: str, fields: dict[str, Any]) -> dict[str, Any]:
    """The arguments of an Agent, Crew or Task as CrewAI takes them today."""
    fields = dict(fields)
    verbose = fields.get("verbose")
    if isinstance(verbose, int) and not isinstance(verbose, bool):
        fields["verbose"] = _told(bool(verbose), f"{kind}(verbose={verbose}) is taken as bool")
    if fields.get("tools"):
        fields["tools"] = [_tool(each) for each in fields["tools"]]
    for name in ("llm", "function_calling_llm", "manager_llm"):
        if _is_foreign_llm(fields.get(name)):
            said = f"{kind}({name}={type(fields[name]).__name__}) is the configured model instead"
            fields[name] = _told(None, said)
    return fields


def _looking(made: Callable[..., None]) -> Callable[..., None]:
    @wraps(made)
    def init(self: Any, *args: Any, **fields: Any) -> None:
        mend = _active.get()
        made(self, *args, **(mended(type(self).__name__, fields) if mend else fields))

    setattr(init, INSTALLED, True)
    return init


def _tool(given: Any) -> Any:
    """LangChain's tools have what CrewAI's adapter for them asks for."""
    if isinstance(given, BaseTool) or not callable(getattr(given, "func", None)):
        return given
    return _told(Tool.from_langchain(given), f"tool {given.name!r} is adapted from LangChain")


def _is_foreign_llm(given: Any) -> bool:
    return given is not None and not isinstance(given, str | dict | BaseLLM)


def _lend_base_tool() -> None:
    """`from crewai_tools import BaseTool` is today's `crewai.tools.BaseTool`.

    Without the distribution a module stands in for it that has nothing else.
    """
    try:
        module = import_module(TOOLS)
    except ModuleNotFoundError:
        module = sys.modules.setdefault(TOOLS, ModuleType(TOOLS))
    for name, value in (("BaseTool", BaseTool), ("tool", tool)):
        if not hasattr(module, name):
            setattr(module, name, _told(value, f"{TOOLS}.{name} is crewai.tools.{name}"))


def _told(value: Any, what: str) -> Any:
    logger.warning("compatibility: %s", what)
    return value
