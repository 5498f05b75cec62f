"""Runs one task of a project's crew by plain CrewAI, framed as the runner frames it."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pytest

from crewstream_agents.framing import request_text
from crewstream_agents.spec import CrewTask

with warnings.catch_warnings():
    # CrewAI's own import warns; in our code a warning is an error, here it is not ours.
    warnings.simplefilter("ignore")
    from crewstream_agents import models

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from crewstream_agents.tools.report import Report


@pytest.fixture(autouse=True)
def _storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREWAI_STORAGE_DIR", str(tmp_path))


@pytest.fixture
def kick() -> Callable[..., Report]:
    """Run one task type of a crew class on the offline model; give its structured result."""
    return run


def run(maker: type[Any], task_type: str, description: str = "", **inputs: object) -> Report:
    crew = maker().crew()
    crew.tasks = [task for task in crew.tasks if task.name == task_type]
    asked = CrewTask("w/t/1", "w", "t", 1, "acme", "p", "c", task_type, description, inputs=inputs)
    crew.tasks[0].description += "\n\n" + request_text(asked)
    models.assign(crew, asked, {})
    result: Report = crew.kickoff(inputs={}).pydantic
    return result
