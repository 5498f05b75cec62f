"""A second project with the same crews: for workflows of a drill that cross projects."""

from __future__ import annotations

from crewstream_agents.drill import CREWS, ENVIRONMENT
from crewstream_agents.registry import Project

PROJECT = Project(
    project_id="drill-sister", title="Drill, the sister", crews=CREWS, environment=ENVIRONMENT
)
