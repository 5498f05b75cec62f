"""Makes the crews of a project and says what they are, in a process of its own.

It reads a project as JSON from its input and writes what it found to the file that it is given.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from crewai import Crew
from crewai.flow.runtime import Flow
from crewai.utilities.constants import NOT_SPECIFIED
from pydantic import BaseModel, TypeAdapter

from crewstream_agents import compat, findings
from crewstream_agents.conventions import (
    Step,
    able,
    depends_on,
    one_line,
    placeholders,
    summary,
)
from crewstream_agents.describing import Inspection
from crewstream_agents.endpoints import ModelNotConfigured
from crewstream_agents.failures import RunRefused
from crewstream_agents.flows import fresh
from crewstream_agents.forced import CREWAI_MODEL_NAMES
from crewstream_agents.isolation import isolate
from crewstream_agents.models import substitute
from crewstream_agents.project import Finding, Project
from crewstream_agents.spec import CrewDescription, TaskDescription
from crewstream_agents.standin import Choose, standing_in
from crewstream_agents.templates import (
    FlowTemplate,
    Template,
    assemble,
    refuse_what_cannot_run_here,
)


def main() -> None:
    """Inspect the project that comes in; `argv[1]` is the file for what was found."""
    project = TypeAdapter(Project).validate_json(sys.stdin.buffer.read())
    environ = dict(os.environ)
    for name in CREWAI_MODEL_NAMES:
        os.environ.pop(name, None)
    isolate()
    found = inspect(project, environ)
    Path(sys.argv[1]).write_bytes(TypeAdapter(Inspection).dump_json(found))


def inspect(project: Project, environ: Mapping[str, str]) -> Inspection:
    """What a project's crews are, and what there is to know about them."""
    crews: list[CrewDescription] = []
    told = list(findings.of_files(project, environ))
    for crew in project.crews:
        asked: list[str] = []
        try:
            choose = _noting(substitute(environ), asked)
            template = assemble(project, crew, choose)
            with standing_in(choose), compat.rules(project.compat):
                crews.append(_with_candidates(project, describe(crew, template)))
            told += _of(project, crew, template, environ)
        except (RunRefused, ModelNotConfigured) as error:
            told.append(Finding("problem", crew, str(error) + _hint(project, error)))
        told += findings.of_models(crew, asked, environ)
    return Inspection(crews, told)


def describe(name: str, template: Template | FlowTemplate) -> CrewDescription:
    """A crew or flow, as it is announced."""
    if isinstance(template, FlowTemplate):
        return _describe_flow(name, template)
    crew = template.crew
    order = depends_on([_step(task) for task in crew.tasks])
    tasks = [_describe_task(template, task, order[str(task.name)]) for task in crew.tasks]
    given = placeholders(_texts(crew))
    return CrewDescription(
        crew=name,
        description=summary(tasks),
        tasks=tasks,
        agents=list(template.agents),
        process=str(crew.process.value),
        inputs=[each for each in given if each not in template.defaults],
    )


def _with_candidates(project: Project, crew: CrewDescription) -> CrewDescription:
    """With the agents of which one is chosen for each task."""
    tasks = [
        replace(each, agents=able(project, each.task_type, crew.agents)) for each in crew.tasks
    ]
    return replace(crew, tasks=tasks)


def _describe_flow(name: str, template: FlowTemplate) -> CrewDescription:
    fields = [each for each in _state_fields(fresh(template.make)) if each != "id"]
    whole = TaskDescription(
        task_type=name,
        description=template.about or f"Run the flow {name}",
        expected_output=f"state: {', '.join(fields)}" if fields else "",
        agent="",
    )
    return CrewDescription(name, whole.description, [whole], (), kind="flow")


def _state_fields(flow: Flow[Any]) -> Sequence[str]:
    state = flow.state
    return list(type(state).model_fields) if isinstance(state, BaseModel) else list(state)


def _describe_task(template: Template, task: Any, follows: Sequence[str]) -> TaskDescription:
    agents = template.crew.agents
    index = next((i for i, agent in enumerate(agents) if agent is task.agent), None)
    agent = "" if index is None else template.agents[index]
    tools = [*(task.tools or ()), *((task.agent.tools or ()) if task.agent else ())]
    return TaskDescription(
        task_type=str(task.name),
        description=one_line(task.description),
        expected_output=one_line(task.expected_output),
        agent=agent,
        tools=list(dict.fromkeys(tool.name for tool in tools)),
        depends_on=follows,
    )


def _step(task: Any) -> Step:
    unsaid = task.context is NOT_SPECIFIED
    context = None if unsaid else [str(each.name) for each in task.context or ()]
    return Step(str(task.name), context, bool(task.async_execution))


def _texts(crew: Crew) -> Iterator[str]:
    for task in crew.tasks:
        yield from (task.description or "", task.expected_output or "")
    for agent in crew.agents:
        yield from (agent.role or "", agent.goal or "", agent.backstory or "")


def _of(
    project: Project, crew: str, template: Template | FlowTemplate, environ: Mapping[str, str]
) -> Iterator[Finding]:
    if isinstance(template, FlowTemplate):
        return
    yield from findings.of_crew(project, crew, template.crew, environ)
    refuse_what_cannot_run_here(template.crew, project.crews[crew])


def _hint(project: Project, error: Exception) -> str:
    missing = error.__cause__
    if not isinstance(missing, ModuleNotFoundError):
        return ""
    if project.folder and Path(project.folder, "pyproject.toml").is_file():
        return f"; install what it needs: uv pip install --python {sys.prefix} -e {project.folder}"
    return f"; install {missing.name}: uv pip install --python {sys.prefix} …"


def _noting(choose: Choose, asked: list[str]) -> Choose:
    def noted(model: str) -> Any:
        asked.append(model)
        return choose(model)

    return noted


if __name__ == "__main__":
    main()
