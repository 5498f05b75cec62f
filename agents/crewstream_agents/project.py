"""What a project is: its id, its crews and where their code lies; imports nothing of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DEFINITIONS: Final = (".jsonc", ".json", ".yaml", ".yml")
"""The files that CrewAI itself makes a crew or a flow of: `crew.jsonc`, `flow.yaml`."""


class InvalidProject(Exception):
    """A project cannot be used: the message says what is wrong, where, and how to mend it."""


@dataclass(frozen=True, slots=True)
class Project:
    """A business and its crews. `crews`: crew name -> what makes it, in one of these forms.

    `module:Name` of a @CrewBase class, of a Flow, of a Crew, or of a function without arguments
    that returns one of them; or the path of a crew.jsonc or flow.yaml, from `folder`.

    `external_tools` names the tools that have an effect outside, beside those that say so by an
    attribute `external = True`: such a call is never made again unknowingly. `folder` is where its
    files lie, `paths` go in front of the import path while its code is loaded, `late_paths` behind
    it; all are empty for an installed distribution. `compat`: it was written for an earlier CrewAI,
    see docs/projects.md.
    """

    project_id: str
    title: str
    crews: Mapping[str, str]
    external_tools: Sequence[str] | AbstractSet[str] = ()
    folder: str = ""
    paths: Sequence[str] = ()
    late_paths: Sequence[str] = ()
    compat: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """What makes a crew: attribute `name` of `module`, or the definition `file`."""

    module: str = ""
    name: str = ""
    file: Path | None = None


def crew_target(project: Project, crew: str) -> Target:
    """What makes a crew. Raises InvalidProject when there is no such crew."""
    target = project.crews.get(crew)
    if target is None:
        known = ", ".join(project.crews) or "none"
        raise InvalidProject(
            f"project {project.project_id!r} has no crew {crew!r}, it has: {known}"
        )
    if target.endswith(DEFINITIONS):
        return Target(file=Path(project.folder, target))
    module, colon, name = target.partition(":")
    if not (module and colon and name.isidentifier()):
        raise InvalidProject(
            f"crew {crew!r} of project {project.project_id!r} points to {target!r}: "
            "write it as 'package.module:ClassName', or as the path of a crew.jsonc or flow.yaml"
        )
    return Target(module, name)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to know before a crew runs here.

    `level`: `problem`, it cannot run; `needs`, it lacks something; `change`, it behaves otherwise
    than under `crewai run`; `note`. `where` is the crew, and what of it.
    """

    level: str
    where: str
    message: str
