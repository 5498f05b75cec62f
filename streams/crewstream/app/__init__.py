"""Composition root: settings -> adapters -> processors -> runtime, one file a process.

The only place where real things are wired.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crewstream.config import Process, Settings
    from crewstream_agents.spec import ProjectDescription


def run(process: Process, settings: Settings) -> int:
    """Run one process until it is told to stop; its exit code.

    Raises CrewstreamError when it cannot start.
    """
    module = importlib.import_module(f"crewstream.app.{process}")  # each brings its own weight
    _collect_rarely()
    code: int = asyncio.run(module.run(settings))
    return code


def _collect_rarely() -> None:
    """Spare the collector what was imported, and let it look less often.

    Records make many short-lived objects and no cycles; at Python's own thresholds looking for
    cycles took a tenth of the time, in pauses of 0.1 s.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def describe_projects() -> Sequence[ProjectDescription]:
    """What workers of this installation can run."""
    from crewstream_agents import registry  # noqa: PLC0415  (the command line starts without it)

    return [registry.describe(project) for project in registry.projects().values()]
