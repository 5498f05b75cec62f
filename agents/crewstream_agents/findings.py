"""What is otherwise here than under `crewai run`, and what a crew lacks: told before it runs."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from crewai import Crew
from dotenv import dotenv_values

from crewstream_agents.endpoints import configured, missing_keys
from crewstream_agents.project import LEFT_OUT, PROCESS, REFUSED, SCOPED, Finding, Project
from crewstream_agents.sources import files
from crewstream_agents.stores import fault

_MEMORY: Final = {
    LEFT_OUT: "memory is left out; --memory scoped keeps one for each tenant",
    SCOPED: "memory is kept for each tenant",
    REFUSED: "memory is refused",
}
KICKOFFS: Final = frozenset({"kickoff", "kickoff_for_each"})


def of_crew(
    project: Project, name: str, crew: Crew, environ: Mapping[str, str]
) -> Iterator[Finding]:
    """The findings of one crew, as its project makes it."""
    yield from _of_settings(name, crew)
    if crew.memory or any(getattr(agent, "memory", None) for agent in crew.agents):
        yield Finding("change", name, _MEMORY.get(project.memory, ""))
    if kept := fault(crew, project.memory, alone=project.isolation_of(name) == PROCESS):
        yield Finding("problem", name, kept)
    for number, task in enumerate(crew.tasks, start=1):
        where = f"{name}, task {task.name or number}"
        if task.output_file:
            yield Finding(
                "change",
                where,
                f"output_file {task.output_file!r} goes into the folder of the run, which is"
                " removed with it: the output is in the result",
            )
        if task.human_input:
            yield Finding(
                "change",
                where,
                "human_input asks in the workflow: the task waits for `crewstream command ID"
                " approve --feedback …`",
            )
    yield from _of_tools(name, crew, environ)


def of_models(name: str, asked: Iterable[str], environ: Mapping[str, str]) -> Iterator[Finding]:
    """What becomes of the models that a crew names; `asked` are their names."""
    declared = sorted(set(asked))
    if not declared:
        return
    if configured(environ) is None:
        yield Finding(
            "change",
            name,
            f"{', '.join(declared)}: the offline model answers instead until MODEL is set",
        )
        return
    for model in declared:
        if keys := missing_keys(model, environ):
            yield Finding("needs", name, f"model {model} needs {' or '.join(keys)} to be set")


def of_files(project: Project, environ: Mapping[str, str]) -> Iterator[Finding]:
    """What a project's files tell, without being run."""
    if not project.folder:
        return
    folder = Path(project.folder)
    unset = [key for key in dotenv_values(folder / ".env") if key and not environ.get(key)]
    if unset:
        yield Finding(
            "needs",
            str(folder / ".env"),
            f"{', '.join(unset)}: set them for the workers too, in their environment or .env",
        )
    for path in files(folder):
        if path.suffix == ".py":
            yield from _of_steps(path)


def _of_settings(name: str, crew: Crew) -> Iterator[Finding]:
    agents = crew.agents
    if crew.max_rpm or any(agent.max_rpm for agent in agents):
        yield Finding("change", name, "max_rpm counts for one process only, and is left out")
    if crew.verbose or any(agent.verbose for agent in agents):
        yield Finding("change", name, "verbose is off; the calls of a run are in ClickHouse")
    if crew.stream:
        yield Finding("change", name, "stream is off: the result comes whole")
    if crew.output_log_file:
        yield Finding("change", name, "output_log_file is written in the worker, if at all")
    if crew.share_crew:
        yield Finding("change", name, "share_crew and telemetry are off")
    if sources := [*_knowledge(crew), *(s for agent in agents for s in _knowledge(agent))]:
        yield Finding(
            "needs", name, f"knowledge ({len(sources)} sources) needs an embedder, and its key"
        )
    if any(getattr(agent, "allow_code_execution", False) for agent in agents):
        yield Finding("note", name, "allow_code_execution runs what a model writes")
    if any(getattr(agent, "mcps", None) for agent in agents):
        yield Finding(
            "note", name, "MCP servers are connected to by each task, which takes seconds"
        )


def _knowledge(one: Any) -> Sequence[Any]:
    return getattr(one, "knowledge_sources", None) or ()


def _of_tools(name: str, crew: Crew, environ: Mapping[str, str]) -> Iterator[Finding]:
    staff: Sequence[Any] = [*crew.agents, *crew.tasks]
    given = [tool for one in staff for tool in one.tools or ()]
    tools = {tool.name: tool for tool in given}
    for tool in tools.values():
        for variable in getattr(tool, "env_vars", None) or ():
            if variable.required and not environ.get(variable.name):
                yield Finding(
                    "needs",
                    f"{name}, tool {tool.name}",
                    f"{variable.name} does not reach it: set it, and add the project with"
                    f" --env {variable.name}",
                )


def _of_steps(path: Path) -> Iterator[Finding]:
    """A crew's `kickoff()` in an `async def` step always fails in CrewAI: it has `akickoff()`."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return
    for step in ast.walk(tree):
        if not isinstance(step, ast.AsyncFunctionDef):
            continue
        waited = {id(node.value) for node in ast.walk(step) if isinstance(node, ast.Await)}
        for node in ast.walk(step):
            if isinstance(node, ast.Call) and id(node) not in waited and _kicks_off(node):
                yield Finding(
                    "problem",
                    f"{path.name}, line {node.lineno}",
                    f"kickoff() within async def {step.name} fails in CrewAI: await akickoff()",
                )


def _kicks_off(node: ast.Call) -> bool:
    return isinstance(node.func, ast.Attribute) and node.func.attr in KICKOFFS
