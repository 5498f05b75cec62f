"""A flow as one task: a fresh one for each run, its crews prepared as if they ran alone."""

from __future__ import annotations

import asyncio
import inspect
import json
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Final

from crewai import Crew
from crewai.crews.crew_output import CrewOutput
from crewai.flow.async_feedback.types import HumanFeedbackPending
from crewai.flow.runtime import Flow
from crewai.hooks.dispatch import InterceptionPoint, get_scoped_hooks, scoped_hooks
from crewai.types.usage_metrics import UsageMetrics
from pydantic import BaseModel

from crewstream_agents.failures import RunRefused
from crewstream_agents.framing import upstream_data
from crewstream_agents.spec import CrewTask

PAYLOAD: Final = "crewai_trigger_payload"
"""The argument by which the first steps of a flow get what caused it."""

RESERVED: Final = "id"
"""With it CrewAI would look for the state of an earlier run, of whomever."""


async def kickoff(
    make: Callable[[], Flow[Any]], task: CrewTask, prepare: Callable[[Crew], None]
) -> CrewOutput:
    """Run a flow to its end. `prepare` is called with each crew that it starts, before it runs.

    Raises RunRefused: `crew.invalid`, it cannot be made; `crew.waits`, it waits for a person.
    """
    flow = await asyncio.to_thread(fresh, make)
    _name_state(flow, task)
    with _preparing(prepare):
        result = await flow.kickoff_async(inputs_of(task, payload=takes_payload(type(flow))))
    if isinstance(result, HumanFeedbackPending):
        raise RunRefused(
            "crew.waits",
            f"step {result.context.method_name} waits for a person's feedback, which a flow cannot "
            "get here: make the approval a task of the workflow (requires_approval)",
        )
    return output_of(flow, result)


def fresh(make: Callable[[], Flow[Any]]) -> Flow[Any]:
    """A flow of one's own. Raises RunRefused (`crew.invalid`)."""
    try:
        return make()
    except Exception as error:
        raise RunRefused("crew.invalid", f"the flow cannot be made: {error}") from error


def takes_payload(flow: type[Flow[Any]]) -> bool:
    """Whether a step of a flow has the argument that CrewAI gives what caused the flow."""
    steps = [getattr(flow, name, None) for name in vars(flow)]
    return any(
        PAYLOAD in inspect.signature(inspect.unwrap(step)).parameters
        for step in steps
        if callable(step) and not isinstance(step, type)
    )


def inputs_of(task: CrewTask, *, payload: bool) -> dict[str, Any]:
    """The inputs of a flow: the request's as they are and, for one that takes it, what caused it.

    A request may bring a payload of its own. Else it is the inputs, and what the request says
    beside them: `description`, `expected_output`, `keywords`, and `upstream`, what earlier tasks
    brought.
    """
    inputs = {name: value for name, value in task.inputs.items() if name != RESERVED}
    if not payload or PAYLOAD in inputs:
        return inputs
    told = {
        **inputs,
        "description": task.description,
        "expected_output": task.expected_output,
        "keywords": list(task.keywords),
        "upstream": upstream_data(task.upstream),
    }
    return {**inputs, PAYLOAD: {name: value for name, value in told.items() if value}}


def output_of(flow: Flow[Any], result: Any) -> CrewOutput:
    """What a flow brought: its result as text, or its state when it returns nothing; as JSON both.

    `json_dict` has `result` and `state`.
    """
    hidden = {PAYLOAD, RESERVED}
    state = {name: value for name, value in plain(flow.state).items() if name not in hidden}
    value = plain(result)
    shown = state if value is None else value
    text = shown if isinstance(shown, str) else json.dumps(shown, ensure_ascii=False, indent=2)
    return CrewOutput(
        raw=text,
        json_dict={"result": value, "state": state},
        tasks_output=result.tasks_output if isinstance(result, CrewOutput) else [],
        token_usage=UsageMetrics(),
    )


def plain(value: Any) -> Any:
    """A value as JSON has it: models as their fields, what a crew returned as its result."""
    if isinstance(value, CrewOutput):
        return plain(value.pydantic or value.json_dict or value.raw)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", fallback=str)
    return json.loads(json.dumps(value, default=_fallback))


def _fallback(value: Any) -> Any:
    if isinstance(value, CrewOutput | BaseModel):
        return plain(value)
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    return dict(value) if isinstance(value, Mapping) else str(value)


def _name_state(flow: Flow[Any], task: CrewTask) -> None:
    """The id of a flow's state reaches prompts: the same in every run of a task, for replays."""
    name = str(uuid.uuid5(uuid.NAMESPACE_URL, task.journal or task.assignment_id))
    if isinstance(flow.state, dict):
        flow.state[RESERVED] = name
    else:
        flow.state.id = name


def _preparing(prepare: Callable[[Crew], None]) -> AbstractContextManager[Any]:
    def start(context: Any) -> None:
        if isinstance(getattr(context, "crew", None), Crew):
            prepare(context.crew)

    point = InterceptionPoint.EXECUTION_START
    # A scope replaces the outer one, so what is there already is taken along.
    hooks = {each: get_scoped_hooks(each) for each in InterceptionPoint}
    return scoped_hooks({**hooks, point: [*hooks[point], start]})
