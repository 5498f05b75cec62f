"""Runs a crew of a project once, in this process: for tests of projects, and for trying out."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping

from crewstream_agents.forced import FORCED_ENVIRONMENT
from crewstream_agents.project import Project
from crewstream_agents.spec import CrewOutcome, CrewTask


def run(
    project: Project,
    crew: str,
    *,
    inputs: Mapping[str, object] | None = None,
    task_type: str = "",
    environ: Mapping[str, str] | None = None,
    deadline_s: float = 600.0,
) -> CrewOutcome:
    """How a run of a crew, or of one task of it, ends; as in a runner, without journal and budget.

    `environ` says which model there is; None: the offline model, whatever the environment says.
    Never raises for what happens to the run: that is in the outcome.
    """
    known = {} if environ is None else dict(environ)
    task = CrewTask(
        assignment_id="trial/task/1",
        workflow_id="trial",
        task_id="task",
        attempt=1,
        tenant_id="trial",
        project_id=project.project_id,
        crew=crew,
        task_type=task_type,
        inputs=inputs or {},
        deadline_s=deadline_s,
    )
    os.environ.update(FORCED_ENVIRONMENT)  # CrewAI reads it while it is imported
    return asyncio.run(_run(project, task, known))


async def _run(project: Project, task: CrewTask, environ: Mapping[str, str]) -> CrewOutcome:
    from crewstream_agents import models  # noqa: PLC0415 - only now is the environment right
    from crewstream_agents.isolation import isolate  # noqa: PLC0415
    from crewstream_agents.run import Run  # noqa: PLC0415
    from crewstream_agents.templates import Templates  # noqa: PLC0415

    isolate()
    templates = Templates({project.project_id: project}, environ)
    return await Run(task).execute(templates, models.assign, environ)
