"""The same crew in the hands of another project, with another secret."""

from __future__ import annotations

from crewstream_agents.registry import Project

PROJECT = Project(
    project_id="snoop",
    title="Snoop",
    crews={"keep": "crewkeeper.crew:KeeperCrew"},
    environment=("SNOOP_SECRET",),
)
