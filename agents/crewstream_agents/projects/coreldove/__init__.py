"""CoreLDove: e-commerce."""

from __future__ import annotations

from crewstream_agents.registry import Project

PROJECT = Project(
    project_id="coreldove",
    title="CoreLDove, the online shop",
    crews={
        "ecommerce_optimization": (
            "crewstream_agents.projects.coreldove.crew:EcommerceOptimization"
        )
    },
)
