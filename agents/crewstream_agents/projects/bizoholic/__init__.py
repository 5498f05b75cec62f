"""Bizoholic: the marketing agency."""

from __future__ import annotations

from crewstream_agents.registry import Project

PROJECT = Project(
    project_id="bizoholic",
    title="Bizoholic, the marketing agency",
    crews={"marketing_strategy": "crewstream_agents.projects.bizoholic.crew:MarketingStrategy"},
)
