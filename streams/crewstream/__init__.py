"""Run CrewAI crews from Kafka, exactly accounted.

What other services import: the client, the events, the errors; nothing before it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crewstream.client import Client, Handle
    from crewstream.contracts.connection import KafkaConnection
    from crewstream.contracts.events import WorkflowFinished, WorkflowRequested, WorkflowStatus
    from crewstream.errors import CrewstreamError

__all__ = [
    "Client",
    "CrewstreamError",
    "Handle",
    "KafkaConnection",
    "WorkflowFinished",
    "WorkflowRequested",
    "WorkflowStatus",
]

_HOMES = {
    "Client": "client",
    "CrewstreamError": "errors",
    "Handle": "client",
    "KafkaConnection": "contracts.connection",
    "WorkflowFinished": "contracts.events",
    "WorkflowRequested": "contracts.events",
    "WorkflowStatus": "contracts.events",
}


def __getattr__(name: str) -> Any:
    """Import what was asked for: our own processes import parts of us and need no client."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"crewstream.{_HOMES[name]}"), name)
