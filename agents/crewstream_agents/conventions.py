"""What CrewAI's own files say of a crew: agents, tasks, placeholders; read without crewai."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import yaml

from crewstream_agents.project import InvalidProject, Project, crew_target
from crewstream_agents.spec import CrewDescription, ProjectDescription, TaskDescription

PLACEHOLDER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_\-]*)}")
"""What an input fills, as CrewAI's own interpolation has it."""


@dataclass(frozen=True, slots=True)
class Step:
    """A task of a crew, in the order of the crew. `context`: what it names; None: nothing said."""

    name: str
    context: Sequence[str] | None = None
    at_once: bool = False


def describe(project: Project) -> ProjectDescription:
    """What the crews of a project can do, read from the yaml files beside each crew's module.

    Raises InvalidProject when a crew's module or yaml is missing or not as CrewAI wants it.
    """
    crews = [_describe_crew(project, name) for name in project.crews]
    check_agents(project, crews)
    return ProjectDescription(project.project_id, project.title, crews)


def check_agents(project: Project, crews: Sequence[CrewDescription]) -> None:
    """Names of agents and task types that no crew has would never be chosen, without a word.

    Raises InvalidProject.
    """
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


def able(project: Project, task_type: str, agents: Collection[str]) -> Sequence[str]:
    """The agents of a crew of whom one is chosen for a task; none: the crew says who does it."""
    return [agent for agent in project.candidates.get(task_type, ()) if agent in agents]


def tells_all(project: Project) -> bool:
    """Whether yaml says all that there is to say: the code beside it adds no order of its own."""
    targets = [crew_target(project, crew) for crew in project.crews]
    return not project.folder and all(
        target.file is None and _adds_nothing(target.module, target.name) for target in targets
    )


def depends_on(steps: Sequence[Step]) -> Mapping[str, Sequence[str]]:
    """The tasks that CrewAI has ended before it begins each task, and whose outputs it may get.

    What a task names; else all before it, unless it runs at once with others (`async_execution`):
    such a one begins when the last task before it that does not has ended.
    """
    found: dict[str, Sequence[str]] = {}
    for index, step in enumerate(steps):
        if step.context is not None:
            found[step.name] = list(step.context)
            continue
        before = [one.name for one in steps[:index]]
        alone = [number for number, one in enumerate(steps[:index], start=1) if not one.at_once]
        found[step.name] = before[: max(alone, default=0)] if step.at_once else before
    return found


def placeholders(texts: Iterable[str]) -> Sequence[str]:
    """The names of the inputs that these texts need, in the order of the alphabet."""
    return sorted({name for text in texts for name in PLACEHOLDER.findall(text)})


def summary(tasks: Iterable[TaskDescription]) -> str:
    """A crew in one line: the first sentence of each of its tasks."""
    return "; ".join(task.description.split(". ")[0].rstrip(".") for task in tasks)


def one_line(text: object) -> str:
    """A text of a yaml block without its line breaks."""
    return " ".join(str(text or "").split())


def module_folder(module: str, target: str) -> Path:
    """Where a crew's module lies, found without running it: it imports crewai."""
    return _origin(module, target).parent


def read_yaml(path: Path) -> Any:
    """The content of a file. Raises InvalidProject."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise InvalidProject(f"{path} is not YAML: {error}") from error


def _describe_crew(project: Project, crew: str) -> CrewDescription:
    target = crew_target(project, crew)
    folder = module_folder(target.module, project.crews[crew])
    agents = _read(folder, "agents.yaml")
    tasks = _read(folder, "tasks.yaml")
    order = depends_on([_step(name, task) for name, task in tasks.items()])
    described = [_describe_task(name, task, agents, order[name]) for name, task in tasks.items()]
    described = [replace(each, agents=able(project, each.task_type, agents)) for each in described]
    sections = (*agents.values(), *tasks.values())
    texts = [str(value) for section in sections for value in section.values()]
    return CrewDescription(
        crew, summary(described), described, list(agents), inputs=placeholders(texts)
    )


def _step(name: str, task: Mapping[str, Any]) -> Step:
    context = task.get("context")
    return Step(
        name,
        [str(each) for each in context] if isinstance(context, list) else None,
        bool(task.get("async_execution")),
    )


def _describe_task(
    name: str,
    task: Mapping[str, Any],
    agents: Mapping[str, Mapping[str, Any]],
    follows: Sequence[str],
) -> TaskDescription:
    agent = str(task.get("agent", ""))
    return TaskDescription(
        task_type=name,
        description=one_line(task.get("description")),
        expected_output=one_line(task.get("expected_output")),
        agent=agent,
        tools=[str(tool) for tool in agents.get(agent, {}).get("tools") or ()],
        depends_on=follows,
    )


def _adds_nothing(module: str, name: str) -> bool:
    """Whether a crew's code only makes of its yaml what is in there, under the same names."""
    path = _origin(module, f"{module}:{name}")
    folder = path.parent
    try:
        tasks, tree = _read(folder, "tasks.yaml"), ast.parse(path.read_bytes())
    except (InvalidProject, SyntaxError):
        return False
    made = next((one for one in tree.body if getattr(one, "name", "") == name), None)
    if made is None:
        return False
    nodes = list(ast.walk(made))
    words = {node.arg for node in nodes if isinstance(node, ast.keyword)}
    methods = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    hierarchical = any(isinstance(n, ast.Attribute) and n.attr == "hierarchical" for n in nodes)
    ordered = {"context", "async_execution"} & words
    return not hierarchical and not ordered and tasks.keys() <= methods


def _origin(module: str, target: str) -> Path:
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        raise InvalidProject(
            f"crew {target!r}: there is no module {module!r}; mend its name in PROJECT"
        )
    return Path(spec.origin)


def _read(folder: Path, name: str) -> Mapping[str, Mapping[str, Any]]:
    path = next((p for p in (folder / name, folder / "config" / name) if p.is_file()), None)
    if path is None:
        raise InvalidProject(
            f"{folder / name} is missing, and so is config/{name}: write the crew's {name} there, "
            "in CrewAI's own format"
        )
    content = read_yaml(path)
    if not isinstance(content, dict) or not all(isinstance(v, dict) for v in content.values()):
        raise InvalidProject(f"{path} has to map each name to a mapping of its fields")
    return content
