"""What a copied crew would share with its template: each run is given its own.

CrewAI copies agents and tasks, but not the tools that they hold, nor the counters of their models.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from crewai import BaseLLM

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crewai import Crew


def own_tools(crew: Crew) -> None:
    """Give a crew copies of its tools, with the counters and collections that they have now.

    A tool that two agents share stays one tool of both. Clients, locks and other objects that a
    tool holds stay shared with the template: they cannot be copied in general.
    """
    copied: dict[int, Any] = {}
    for holder in (*_staff(crew), *crew.tasks):
        if holder.tools:
            holder.tools = [copied.setdefault(id(tool), _own_tool(tool)) for tool in holder.tools]


def own_counters(crew: Crew) -> None:
    """Have the models of each agent counted for itself, from zero.

    Otherwise `CrewOutput.token_usage` adds up what agents and earlier runs used that share a model.
    """
    for agent in _staff(crew):
        agent.llm = _uncounted(agent.llm)
    if isinstance(crew.manager_llm, BaseLLM):
        crew.manager_llm = _uncounted(crew.manager_llm)


def _staff(crew: Crew) -> Iterator[Any]:
    yield from crew.agents
    if crew.manager_agent is not None:
        yield crew.manager_agent


def _own_tool(tool: Any) -> Any:
    own = copy.copy(tool)
    for held in (own.__dict__, getattr(own, "__pydantic_private__", None) or {}):
        held.update({name: _own_collection(value) for name, value in held.items()})
    return own


def _own_collection(value: Any) -> Any:
    """A list, set or mapping as a new one, and so are those within; anything else as it is."""
    if isinstance(value, list | set | dict):
        own = copy.copy(value)
        if isinstance(own, list):
            own[:] = [_own_collection(one) for one in own]
        elif isinstance(own, dict):
            own.update({name: _own_collection(one) for name, one in own.items()})
        return own
    return value


def _uncounted(llm: Any) -> Any:
    if not isinstance(llm, BaseLLM):
        return llm
    own = copy.copy(llm)
    own._token_usage = dict.fromkeys(llm._token_usage, 0)  # noqa: SLF001 - guarded by a test
    return own
