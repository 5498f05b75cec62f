"""One task of a crew in a run of its own, given what it would have had within the whole crew."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from crewai import CrewOutput, Task, TaskOutput
from crewai.tasks.conditional_task import ConditionalTask
from crewai.tasks.output_format import OutputFormat
from crewai.utilities.constants import NOT_SPECIFIED
from pydantic import ValidationError

from crewstream_agents.refusal import RunRefused
from crewstream_agents.templates import narrow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from crewai import Crew

    from crewstream_agents.spec import CrewTask, Upstream
    from crewstream_agents.templates import Template


def part(template: Template, asked: CrewTask, agent: str = "") -> Crew:
    """A copy of the crew that does the task of `asked` only, as if all before it had been done.

    `agent` does it in place of the one that the crew gives it to. What earlier tasks brought is
    CrewAI's own context, so that the agent reads the same messages.
    Its task is a ConditionalTask when the condition does not hold: then it is to be passed over.
    Raises RunRefused (`task.unknown_type`, `task.unknown_agent`, `crew.invalid`).
    """
    crew = template.copy()
    task = template.task(crew, asked.task_type)
    if crew.planning:
        raise RunRefused("crew.invalid", "a plan is made for a whole crew: ask for the grain crew")
    if agent:
        task.agent = template.agent(crew, agent)
    number = next(n for n, each in enumerate(crew.tasks) if each is task)
    last = crew.tasks[-1]
    earlier, explicit = crew.tasks[:number], isinstance(task.context, list)
    _give_outputs(task, earlier, {one.task_type: one for one in asked.upstream if one.context})
    task.context = [
        each for each in _wanted(task, earlier) if not (explicit and _was_skipped(each))
    ]
    if number and task.allow_crewai_trigger_context is None:
        task.allow_crewai_trigger_context = False  # CrewAI tells the first task of a crew
    if task is not last:
        crew.after_kickoff_callbacks = []
    narrow(crew, _decided(task, earlier))
    return crew


def passed_over(crew: Crew, inputs: dict[str, Any]) -> CrewOutput | None:
    """The result of a crew whose only task is not to be done; None: it is."""
    (task, *others) = crew.tasks
    if others or not isinstance(task, ConditionalTask):
        return None
    for callback in crew.before_kickoff_callbacks:
        inputs = callback(inputs)
    task.interpolate_inputs_and_add_conversation_history(inputs)
    return CrewOutput(raw="", tasks_output=[task.get_skipped_task_output()])


def _wanted(task: Task, earlier: Sequence[Task]) -> Sequence[Task]:
    """The tasks whose outputs CrewAI would give this one as context."""
    if task.context is NOT_SPECIFIED:
        # CrewAI gives an asynchronous task nothing that it does not name.
        return [] if task.async_execution else earlier
    return task.context if isinstance(task.context, list) else []


def _give_outputs(task: Task, earlier: Sequence[Task], brought: Mapping[str, Upstream]) -> None:
    needed = [*_wanted(task, earlier)]
    if isinstance(task, ConditionalTask):
        needed += earlier[-1:]
    for each in needed:
        if (found := brought.get(each.name or "")) is None:
            raise RunRefused(
                "crew.invalid",
                f"task {task.name!r} reads what {each.name!r} brought, and the crew's description "
                "does not say so: describe its context, or ask for the grain crew",
            )
        if found.status == "succeeded":
            each.output = _output(each, found)


def _output(task: Task, brought: Upstream) -> TaskOutput:
    """What an earlier task returned, as it was."""
    output = TaskOutput(
        name=task.name,
        description=task.description,
        expected_output=task.expected_output,
        agent=task.agent.role if task.agent is not None else "",
        raw=brought.raw or brought.output,
    )
    try:
        if task.output_pydantic is not None and brought.output_json:
            output.pydantic = task.output_pydantic.model_validate_json(brought.output_json)
            output.output_format = OutputFormat.PYDANTIC
        elif task.output_json is not None and brought.output_json:
            output.json_dict = json.loads(brought.output_json)
            output.output_format = OutputFormat.JSON
    except (ValidationError, ValueError):
        return output  # such as a model that does not read what it writes
    return output


def _decided(task: Task, earlier: Sequence[Task]) -> Task:
    """A plain task in place of a conditional one that is to be done.

    CrewAI takes no crew of conditional tasks only.
    """
    previous = earlier[-1].output if earlier else None
    if not isinstance(task, ConditionalTask):
        return task
    if previous is not None and not task.should_execute(previous):
        return task
    given = (task.model_fields_set & Task.model_fields.keys()) - {"id", "config"}
    return Task(**{name: getattr(task, name) for name in given})


def _was_skipped(task: Task) -> bool:
    """A task that was not done leaves CrewAI nothing where it is named."""
    return isinstance(task, ConditionalTask) and task.output is not None and not task.output.raw
