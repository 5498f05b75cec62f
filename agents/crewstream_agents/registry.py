"""Finds projects and describes their crews from CrewAI's yaml files; imports no crewai."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from crewstream_agents.spec import CrewDescription, ProjectDescription, TaskDescription

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

GROUP: Final = "crewstream.projects"
"""The entry point group: each entry names a module whose `PROJECT` is a Project."""


COPY: Final = "copy"
FRESH: Final = "fresh"
PROCESS: Final = "process"
ISOLATIONS: Final = (COPY, FRESH, PROCESS)
"""How runs are kept apart: a copy of a crew that was built once, a crew built for the run, or that
in a process of its own."""

REFUSED: Final = "refused"
SCOPED: Final = "scoped"


class InvalidProject(Exception):
    """A project cannot be used: the message says what is wrong, where, and how to mend it."""


@dataclass(frozen=True, slots=True)
class Project:
    """A business and its crews. `crews`: crew name -> `module:ClassName` of its @CrewBase class.

    `external_tools` names the tools that have an effect outside, beside those that say so by an
    attribute `external = True`: such a call is never made again unknowingly.

    `candidates`: task type -> all agents that can do it, as agents.yaml names them; each time one
    of them is chosen by its record, the first one while none has any. `interchangeable` are groups
    of agents whom a manager may be given in each other's place, again by their records.

    `isolation` of its runs, of all or by crew. `environment`: variables that its crews may read
    beside those that all crews do, names or patterns. `memory`: refused, or scoped: kept for each
    tenant.
    """

    project_id: str
    title: str
    crews: Mapping[str, str]
    external_tools: Collection[str] = ()
    candidates: Mapping[str, Sequence[str]] = field(default_factory=dict)
    interchangeable: Sequence[Sequence[str]] = ()
    isolation: str | Mapping[str, str] = COPY
    environment: Collection[str] = ()
    memory: str = REFUSED

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


def projects() -> Mapping[str, Project]:
    """Every installed project by its id, in the order of their ids.

    Raises InvalidProject when an entry point names nothing usable, or two projects share an id.
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
    return dict(sorted(found.items()))


def describe(project: Project) -> ProjectDescription:
    """What the crews of a project can do, read from the yaml files beside each crew's module.

    Raises InvalidProject when a crew's module or yaml is missing or not as CrewAI wants it.
    """
    crews = [_describe_crew(project, name, target) for name, target in project.crews.items()]
    _check_agents(project, crews)
    return ProjectDescription(project.project_id, project.title, crews)


def schedules(project: Project) -> Sequence[Schedule]:
    """The schedules of a project: `schedules/*.yaml` beside its crews' modules, by name.

    Raises InvalidProject when a file is not as Schedule wants it.
    """
    folders = {_folder(crew_target(project, crew)[0], crew) for crew in project.crews}
    files = [path for folder in folders for path in folder.glob("schedules/*.yaml")]
    return [_schedule(path) for path in sorted(files, key=lambda path: path.stem)]


def crew_target(project: Project, crew: str) -> tuple[str, str]:
    """Module and class name of a crew. Raises InvalidProject when there is no such crew."""
    target = project.crews.get(crew)
    if target is None:
        known = ", ".join(project.crews) or "none"
        raise InvalidProject(
            f"project {project.project_id!r} has no crew {crew!r}, it has: {known}"
        )
    module, colon, name = target.partition(":")
    if not (module and colon and name.isidentifier()):
        raise InvalidProject(
            f"crew {crew!r} of project {project.project_id!r} points to {target!r}: "
            "write it as 'package.module:ClassName'"
        )
    return module, name


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


def _describe_crew(project: Project, crew: str, target: str) -> CrewDescription:
    module, _ = crew_target(project, crew)
    folder = _folder(module, target)
    agents = _read(folder, "agents.yaml")
    tasks = _read(folder, "tasks.yaml")
    described = [
        _describe_task(name, tasks, agents, _able(project, name, agents)) for name in tasks
    ]
    summary = "; ".join(task.description.split(". ")[0].rstrip(".") for task in described)
    return CrewDescription(crew, summary, described, list(agents))


def _check_agents(project: Project, crews: Sequence[CrewDescription]) -> None:
    """Names of agents and task types that no crew has would never be chosen, without a word."""
    known = {agent for crew in crews for agent in crew.agents}
    types = {task.task_type for crew in crews for task in crew.tasks}
    named = {agent for group in project.candidates.values() for agent in group}
    named |= {agent for group in project.interchangeable for agent in group}
    if unlike := [*sorted(named - known), *sorted(project.candidates.keys() - types)]:
        raise InvalidProject(
            f"project {project.project_id!r} names {', '.join(unlike)} in candidates or "
            f"interchangeable: its crews have the agents {', '.join(sorted(known))} and the tasks "
            f"{', '.join(sorted(types))}"
        )


def _able(project: Project, task_type: str, agents: Collection[str]) -> Sequence[str]:
    """The agents of a crew of which one is chosen for a task."""
    return [agent for agent in project.candidates.get(task_type, ()) if agent in agents]


def _describe_task(
    name: str,
    tasks: Mapping[str, Mapping[str, Any]],
    agents: Mapping[str, Mapping[str, Any]],
    able: Sequence[str],
) -> TaskDescription:
    task = tasks[name]
    agent = str(task.get("agent", ""))
    return TaskDescription(
        task_type=name,
        description=_text(task, "description"),
        expected_output=_text(task, "expected_output"),
        agent=agent,
        tools=[str(tool) for tool in agents.get(agent, {}).get("tools") or ()],
        depends_on=_follows(name, tasks),
        agents=able,
    )


def _follows(name: str, tasks: Mapping[str, Mapping[str, Any]]) -> Sequence[str]:
    """The tasks that a sequential crew has ended before it begins this one, as its yaml says it.

    Without a `context` of its own a task gets what all earlier ones brought; an asynchronous one
    does not wait for those that were begun beside it.
    """
    names = list(tasks)
    earlier = names[: names.index(name)]
    context = tasks[name].get("context")
    if isinstance(context, list):
        return [str(each) for each in context]
    if not tasks[name].get("async_execution"):
        return earlier
    alone = [
        number for number, each in enumerate(earlier) if not tasks[each].get("async_execution")
    ]
    return earlier[: alone[-1] + 1] if alone else []


def _text(section: Mapping[str, Any], key: str) -> str:
    return " ".join(str(section.get(key, "")).split())


def _folder(module: str, target: str) -> Path:
    """Where a crew's module lies, found without running it: it imports crewai."""
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        raise InvalidProject(
            f"crew {target!r}: there is no module {module!r}; mend its name in PROJECT"
        )
    return Path(spec.origin).parent


def _read(folder: Path, name: str) -> Mapping[str, Mapping[str, Any]]:
    path = next((p for p in (folder / name, folder / "config" / name) if p.is_file()), None)
    if path is None:
        raise InvalidProject(
            f"{folder / name} is missing, and so is config/{name}: write the crew's {name} there, "
            "in CrewAI's own format"
        )
    content = _yaml(path)
    if not isinstance(content, dict) or not all(isinstance(v, dict) for v in content.values()):
        raise InvalidProject(f"{path} has to map each name to a mapping of its fields")
    return content


def _schedule(path: Path) -> Schedule:
    content = _yaml(path)
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


def _yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise InvalidProject(f"{path} is not YAML: {error}") from error
