"""Takes up projects that are added or removed while everything runs on this machine."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from crewstream.errors import CrewstreamError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from crewstream.embedded.installation import Installation
    from crewstream.embedded.supervisor import Supervisor

LOOK_EVERY_S = 1.0
WHO_KNOWS_PROJECTS = ("worker", "coordinator")


async def follow_projects(
    installation: Installation, supervisor: Supervisor, say: Callable[[str], None]
) -> None:
    """Return never: whenever projects.yaml changes, make topics and restart who reads them."""
    path = installation.projects
    if path is None:
        return
    seen = _stamp(path)
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        now = _stamp(path)
        if now != seen:
            seen = now
            await _take_up(installation, supervisor, say)


async def _take_up(
    installation: Installation, supervisor: Supervisor, say: Callable[[str], None]
) -> None:
    say(f"{installation.projects} has changed: {' and '.join(WHO_KNOWS_PROJECTS)} start anew")
    try:
        await installation.apply_topics()
    except CrewstreamError as error:
        say(f"the projects stay as they were: {error}")
        return
    await asyncio.gather(*(supervisor.restart(name) for name in WHO_KNOWS_PROJECTS))


def _stamp(path: Path) -> tuple[int, int]:
    """What changes when a file is written anew; that of a missing file is zero."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_mtime_ns, found.st_size
