"""Composition root: settings -> adapters -> processors -> runtime, one file a process.

The only place where real things are wired.
"""

from __future__ import annotations

import asyncio
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
    code: int = asyncio.run(module.run(settings))
    return code


def describe_projects() -> Sequence[ProjectDescription]:
    """What workers of this installation can run."""
    from crewstream_agents import registry  # noqa: PLC0415  (the command line starts without it)

    return [registry.describe(project) for project in registry.projects().values()]
