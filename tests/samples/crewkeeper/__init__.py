"""A project whose crew keeps things wherever it can: what becomes of them is what is tested."""

from __future__ import annotations

from crewstream_agents.registry import Project

PROJECT = Project(
    project_id="keeper",
    title="Keeper",
    crews={"keep": "crewkeeper.crew:KeeperCrew"},
    environment=("KEEPER_*",),
)
