"""What a copied crew would share with its template: each run is given its own.

CrewAI copies agents and tasks, but not the tools that they hold.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crewai import Crew


def staff(crew: Crew) -> Sequence[Any]:
    """A crew's agents, its manager among them."""
    return [*crew.agents, *filter(None, [crew.manager_agent])]


def own_tools(crew: Crew) -> None:
    """Give a crew copies of its tools, with the counters and collections that they have now.

    A tool that two agents share stays one tool of both. Clients, locks and other objects that a
    tool holds stay shared with the template: they cannot be copied in general.
    """
    copied: dict[int, Any] = {}
    for holder in (*staff(crew), *crew.tasks):
        if holder.tools:
            holder.tools = [copied.setdefault(id(tool), _own_tool(tool)) for tool in holder.tools]


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
