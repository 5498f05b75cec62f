"""Finds the projects of an installation, and their schedules; imports no crewai."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from crewstream_agents import book
from crewstream_agents.conventions import describe, module_folder, read_yaml
from crewstream_agents.project import InvalidProject, Project, crew_target

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "GROUP",
    "InvalidProject",
    "Project",
    "Schedule",
    "crew_target",
    "describe",
    "projects",
    "schedules",
]

GROUP: Final = "crewstream.projects"
"""The entry point group: each entry names a module whose `PROJECT` is a Project."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """What a file in a project's `schedules/` says; `name` is that of the file.

    `request` is a workflow's, in any of the forms that are taken, `cron` has five fields and is
    read in `timezone`, `missed` is latest, skip or all.
    """

    name: str
    cron: str
    request: Mapping[str, Any]
    timezone: str = "UTC"
    missed: str = "latest"
    enabled: bool = True


def projects(added: Path | None = None) -> Mapping[str, Project]:
    """Every project by its id, in the order of their ids: the installed ones, and those added.

    `added` is the projects.yaml that names the latter. Raises InvalidProject when an entry point
    names nothing usable, or two projects share an id.
    """
    found: dict[str, Project] = {}
    for entry in entry_points(group=GROUP):
        project = _load(entry)
        if found.get(project.project_id, project) != project:
            raise InvalidProject(
                f"two entry points in {GROUP!r} define project {project.project_id!r}, one is "
                f"{entry.name} = {entry.value}: give each project an id of its own"
            )
        found[project.project_id] = project
    ours = book.read(added) if added is not None else {}
    if twice := sorted(found.keys() & ours.keys()):
        raise InvalidProject(
            f"{added} has {', '.join(twice)}, which is installed as well: remove one of the two"
        )
    return dict(sorted({**found, **ours}.items()))


def schedules(project: Project) -> Sequence[Schedule]:
    """The schedules of a project: `schedules/*.yaml` in its folder or beside its crews, by name.

    Raises InvalidProject when a file is not as Schedule wants it.
    """
    files = [path for folder in set(_folders(project)) for path in folder.glob("schedules/*.yaml")]
    return [_schedule(path) for path in sorted(files, key=lambda path: path.stem)]


def _folders(project: Project) -> Iterator[Path]:
    if project.folder:
        yield Path(project.folder)
        return
    for crew in project.crews:
        target = crew_target(project, crew)
        yield target.file.parent if target.file else module_folder(target.module, crew)


def _load(entry: EntryPoint) -> Project:
    where = f"entry point {entry.name!r} in {GROUP!r} names {entry.value!r}"
    try:
        module = import_module(entry.module)
    except ModuleNotFoundError as error:
        raise InvalidProject(
            f"{where}, which cannot be imported ({error}): install the package that has it, "
            "or take the entry point out"
        ) from error
    project = getattr(module, "PROJECT", None)
    if not isinstance(project, Project):
        raise InvalidProject(
            f"{where}, which has no PROJECT: set PROJECT = crewstream_agents.registry.Project(...)"
        )
    return project


def _schedule(path: Path) -> Schedule:
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise InvalidProject(f"{path} has to be a mapping: cron, request, and what else it says")
    known = {field.name: field for field in fields(Schedule) if field.name != "name"}
    needed = {name for name, field in known.items() if field.default is MISSING}
    if unlike := (content.keys() - known.keys()) | (needed - content.keys()):
        raise InvalidProject(
            f"{path}: {', '.join(sorted(map(str, unlike)))} is unknown, or missing: it has to have "
            f"{', '.join(sorted(needed))}, and may have {', '.join(sorted(known.keys() - needed))}"
        )
    kinds = {"request": dict, "enabled": bool}
    for name, value in content.items():
        if not isinstance(value, kind := kinds.get(name, str)):
            raise InvalidProject(f"{path}: {name} has to be a {kind.__name__}, not {value!r}")
    return Schedule(path.stem, **content)
