"""Bizoholic: the marketing agency."""

from __future__ import annotations

from crewstream_agents.registry import Project

PROJECT = Project(
    project_id="bizoholic",
    title="Bizoholic, the marketing agency",
    crews={"marketing_strategy": "crewstream_agents.projects.bizoholic.crew:MarketingStrategy"},
    # Two can write a content package: whose record is better does, see docs/agents.md.
    candidates={"content_generation": ["content_creator", "content_editor"]},
)
