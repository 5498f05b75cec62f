"""The project of `crewstream drill`: crews whose every call and effect can be counted."""

from __future__ import annotations

from crewstream_agents.registry import Project

CREWS = {
    "chores": "crewstream_agents.drill.chores.crew:Chores",
    "survey": "crewstream_agents.drill.survey.crew:Survey",
}
ENVIRONMENT = ("DRILL_TRACES",)
PROJECT = Project(project_id="drill", title="Drill", crews=CREWS, environment=ENVIRONMENT)
