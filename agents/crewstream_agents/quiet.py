"""What CrewAI does at every event for a terminal, its tracing and its checkpoints, left out.

A runner has none of them, and each event would go through a thread for them. Listeners of users
stay, and are told the same. Every name of CrewAI that is replaced here is held by a guard test.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from crewai.events.event_bus import crewai_event_bus
from crewai.events.listeners.tracing.trace_listener import TraceCollectionListener
from crewai.hooks.dispatch import get_scoped_hooks
from crewai.state import checkpoint_listener

from crewstream_agents.cancellation import StopFlag

if TYPE_CHECKING:
    from crewai.hooks.dispatch import InterceptionPoint

HANDLERS: Final = "_sync_handlers"
"""The handlers of CrewAI's bus, by type of event."""

_hooks: Final[Any] = import_module("crewai.hooks.dispatch")
"""The module; as an attribute of its package the name is that of a function."""

OF_CREWAI: Final = frozenset(
    {"crewai.events.event_listener", "crewai.events.listeners.tracing.trace_listener"}
)
"""Modules whose handlers print, or send spans and traces to CrewAI's service."""

TRACED: Final = "_listeners_setup"
"""Whether the handlers for traces are there: a new user's first crew would bring them."""

RECORD: Final = "_record_event"
"""Keeps each event of a run as a node of a graph, from which checkpoints are written."""

CHECKPOINTS: Final = "_handlers_registered"
"""Whether a crew of this process asked for checkpoints."""

HOOKS_TOLD: Final = "_emit_telemetry"
"""Tells of each dispatch of hooks by an event."""


def hush() -> None:
    """Once per process, before the first crew runs."""
    for event_type, handlers in [*getattr(crewai_event_bus, HANDLERS).items()]:
        for handler in handlers:
            if handler.__module__ in OF_CREWAI:
                crewai_event_bus.off(event_type, handler)
    setattr(TraceCollectionListener(), TRACED, True)
    record = getattr(type(crewai_event_bus), RECORD)
    setattr(crewai_event_bus, RECORD, lambda event: _record(record, event))
    told = getattr(_hooks, HOOKS_TOLD)
    if told.__module__ == _hooks.__name__:
        setattr(_hooks, HOOKS_TOLD, lambda *args: _tell_of_others(told, *args))


def _record(record: Any, event: Any) -> None:
    if getattr(checkpoint_listener, CHECKPOINTS):
        record(crewai_event_bus, event)


def _tell_of_others(
    told: Any, point: InterceptionPoint, outcome: str, hooks: int, *rest: Any
) -> None:
    """Tell of the hooks that are not ours: a crew sees what it would see without us."""
    ours = sum(StopFlag.watches(hook) for hook in get_scoped_hooks(point))
    if hooks > ours:
        told(point, outcome, hooks - ours, *rest)
