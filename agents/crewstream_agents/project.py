"""What a project is: its id, its crews and where their code lies; imports nothing of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

DEFINITIONS: Final = (".jsonc", ".json", ".yaml", ".yml")
"""The files that CrewAI itself makes a crew or a flow of: `crew.jsonc`, `flow.yaml`."""

COPY: Final = "copy"
FRESH: Final = "fresh"
PROCESS: Final = "process"
ISOLATIONS: Final = (COPY, FRESH, PROCESS)
"""How runs are kept apart: a copy of a crew that was built once, a crew built for the run, or that
in a process of its own."""

LEFT_OUT: Final = "left_out"
SCOPED: Final = "scoped"
REFUSED: Final = "refused"
MEMORIES: Final = (LEFT_OUT, SCOPED, REFUSED)
"""What becomes of a crew's memory: it runs without, each tenant has one, the crew does not run."""


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

    `candidates`: task type -> all agents that can do it, as agents.yaml names them; each time one
    of them is chosen by its record, the first one while none has any. `interchangeable` are groups
    of agents whom a manager may be given in each other's place, again by their records.

    `isolation` of its runs, of all or by crew. `environment`: variables that its crews may read
    beside those that all crews do, names or patterns. `memory`: left_out, scoped, which is one for
    each tenant, or refused.
    """

    project_id: str
    title: str
    crews: Mapping[str, str]
    external_tools: Sequence[str] | AbstractSet[str] = ()
    folder: str = ""
    paths: Sequence[str] = ()
    late_paths: Sequence[str] = ()
    compat: bool = False
    candidates: Mapping[str, Sequence[str]] = field(default_factory=dict)
    interchangeable: Sequence[Sequence[str]] = ()
    isolation: str | Mapping[str, str] = COPY
    environment: Sequence[str] | AbstractSet[str] = ()
    memory: str = LEFT_OUT

    def isolation_of(self, crew: str) -> str:
        """How runs of a crew are kept apart. Raises InvalidProject."""
        said = self.isolation
        mode = said if isinstance(said, str) else said.get(crew, COPY)
        if mode not in ISOLATIONS:
            raise InvalidProject(
                f"project {self.project_id!r} wants isolation {mode!r} for crew {crew!r}: "
                f"it can be {', '.join(ISOLATIONS)}"
            )
        return mode


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
