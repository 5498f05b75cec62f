"""Projects as people bring them along: where the samples are, and a run of one of their crews."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from crewstream_agents import models, sources
from crewstream_agents.run import Run
from crewstream_agents.spec import CrewOutcome, CrewTask
from crewstream_agents.templates import Templates

if TYPE_CHECKING:
    from crewstream_agents.project import Project

BROUGHT = Path(__file__).parents[1] / "samples" / "brought"


def project(name: str, *, compat: bool = False, **crews: str) -> Project:
    """The project in a folder of the samples."""
    return replace(sources.detect(str(BROUGHT / name), crews=crews), compat=compat)


async def execute(brought: Project, crew: str, **known: object) -> CrewOutcome:
    """How a run ends, on the offline model. `known` are fields of its task."""
    task = CrewTask(
        assignment_id="w/t/1",
        workflow_id="w",
        task_id="t",
        attempt=1,
        tenant_id="acme",
        project_id=brought.project_id,
        crew=crew,
        task_type="",
        deadline_s=60.0,
    )
    templates = Templates({brought.project_id: brought})
    return await Run(replace(task, **known)).execute(templates, models.assign, {})  # type: ignore[arg-type] # fields by name
