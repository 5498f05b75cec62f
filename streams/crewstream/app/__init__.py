"""Composition root: settings -> adapters -> processors -> runtime, one file a process.

The only place where real things are wired.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from crewstream import config
from crewstream.errors import Misconfigured

if TYPE_CHECKING:
    from crewstream.config import Process, Settings
    from crewstream_agents.project import Project
    from crewstream_agents.spec import ProjectDescription

_log = logging.getLogger(__name__)


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


def describe_projects(
    added: Path | None = None, of: Collection[str] | None = None, for_all: Sequence[str] = ()
) -> Sequence[ProjectDescription]:
    """What workers can run of the projects `of`, by default of all; `added`: the projects.yaml.

    `for_all` are variables that all crews may read.

    An added project that cannot be described has no crews, and the log says why: it must not take
    the others along. Raises Misconfigured for an installed one, and for a list that is broken.
    """
    from crewstream_agents import registry  # noqa: PLC0415  (the command line starts without it)

    try:
        found = registry.projects(added).items()
        return [_described(project, for_all) for name, project in found if of is None or name in of]
    except registry.InvalidProject as error:
        raise Misconfigured(str(error)) from error


def environment_of(project: Project, for_all: Sequence[str] = ()) -> Mapping[str, str]:
    """What code of a project may read of the environment, as its runners have it."""
    from crewstream_agents.environment import share_out  # noqa: PLC0415  (the same)

    name = project.project_id
    shared = share_out(config.for_crews(), {name: project.environment}, for_all)
    return {**shared.common, **shared.own.get(name, {})}


def _described(project: Project, for_all: Sequence[str]) -> ProjectDescription:
    from crewstream_agents import describing  # noqa: PLC0415  (the same)
    from crewstream_agents.project import InvalidProject  # noqa: PLC0415
    from crewstream_agents.spec import ProjectDescription  # noqa: PLC0415

    try:
        environ = environment_of(project, for_all)
        return describing.describe(project, config.cache_home() / "projects", environ)
    except InvalidProject as error:
        if not project.folder:
            raise
        _log.error("project %s has no crews: %s", project.project_id, error)
        return ProjectDescription(project.project_id, project.title, ())
