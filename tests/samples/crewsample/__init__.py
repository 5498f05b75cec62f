"""A small project for tests: found, described and run like any other one."""

from __future__ import annotations

from crewstream_agents.registry import Project

PROJECT = Project(
    project_id="sample",
    title="Sample",
    crews={"quotes": "crewsample.crew:QuotesCrew"},
)
