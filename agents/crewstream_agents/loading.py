"""From what a project names to a crew, or to what makes a flow: its own code is run here."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from crewai import Crew
from crewai import Flow as PublicFlow
from crewai.agents.agent_builder.base_agent import BaseAgent
from crewai.flow.runtime import Flow
from crewai.project.crew_loader import load_crew
from crewai.project.json_loader import load_json_crew_project

from crewstream_agents import compat
from crewstream_agents.conventions import one_line, read_yaml
from crewstream_agents.imports import importable
from crewstream_agents.isolation import fresh_memo
from crewstream_agents.project import InvalidProject, Project, Target, crew_target
from crewstream_agents.sources import identifier

FLOW_FILES = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A crew, and the name that each of its agents has where it is defined.

    `defaults` are the inputs that it has where nobody gives others.
    """

    crew: Crew
    agents: Sequence[str]
    defaults: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LoadedFlow:
    """What makes a flow, anew at each call; `about` is what it says of itself."""

    make: Callable[[], Flow[Any]]
    about: str = ""


def load(project: Project, crew: str) -> Loaded | LoadedFlow:
    """Make a crew, or find a flow. Raises InvalidProject, and whatever the project's code raises.

    Its folder is the working directory meanwhile, as it is when CrewAI itself runs it.
    """
    target = crew_target(project, crew)
    with (
        fresh_memo(),
        importable(project.paths, project.late_paths),
        compat.rules(project.compat),
        _inside(project),
    ):
        if target.file is not None:
            return _defined(target.file)
        return _made(getattr(import_module(target.module), target.name), target)


def _defined(file: Path) -> Loaded | LoadedFlow:
    if file.suffix in FLOW_FILES:
        about = (read_yaml(file) or {}).get("description", "")
        return LoadedFlow(lambda: PublicFlow.from_declaration(path=file), one_line(about))
    crew, defaults = load_crew(file)
    return Loaded(crew, load_json_crew_project(file).agent_names, defaults)


def _made(named: Any, target: Target) -> Loaded | LoadedFlow:
    """What a name stands for; a class or a function is called, without arguments."""
    if isinstance(named, type) and issubclass(named, Flow):
        return LoadedFlow(named, one_line((named.__doc__ or "").split("\n\n")[0]))
    if isinstance(named, type):
        maker = named()
        crew = _crew_of(maker)
        return Loaded(crew, [_name_of(agent, maker) for agent in crew.agents])
    result = named if isinstance(named, Crew) else named()
    if isinstance(result, Flow):
        return LoadedFlow(named)
    crew, defaults = result if isinstance(result, tuple) else (result, {})
    if not isinstance(crew, Crew):
        raise InvalidProject(
            f"{target.module}:{target.name} gave {type(crew).__name__}, not a Crew or a Flow: "
            "name what returns one"
        )
    return Loaded(crew, [role_name(agent.role) for agent in crew.agents], defaults)


def role_name(role: str) -> str:
    """The name of an agent that has nothing but its role."""
    return identifier(role)[:60]


def _name_of(agent: BaseAgent, maker: Any) -> str:
    """An agent's name: that of the method that made it, which, memoised, returns it again."""
    configured = list(getattr(maker, "agents_config", None) or ())
    marked = [n for n in dir(type(maker)) if hasattr(getattr(type(maker), n, None), "is_agent")]
    names = [name for name in dict.fromkeys([*configured, *marked]) if hasattr(maker, name)]
    return next((n for n in names if getattr(maker, n)() is agent), role_name(agent.role))


def _crew_of(maker: Any) -> Crew:
    """The crew of an instance of a class: of its method `crew`, or the one that returns a Crew."""
    named = [name for name in dir(type(maker)) if _returns_crew(getattr(type(maker), name, None))]
    made = getattr(maker, "crew", None) or getattr(maker, named[0] if named else "crew", None)
    crew = made() if callable(made) else made
    if not isinstance(crew, Crew):
        raise InvalidProject(
            f"{type(maker).__name__} has no method `crew` that returns a Crew: mark it with @crew"
        )
    return crew


def _returns_crew(method: Any) -> bool:
    returned = getattr(method, "__annotations__", {}).get("return")
    return returned is Crew or str(returned).rpartition(".")[2] == "Crew"


@contextlib.contextmanager
def _inside(project: Project) -> Iterator[None]:
    if not project.folder:
        yield
        return
    before = Path.cwd()
    os.chdir(project.folder)
    try:
        yield
    finally:
        os.chdir(before)
