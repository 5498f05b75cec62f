"""What a crew returned, in our words and in CrewAI's own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pydantic_core import PydanticSerializationError

from crewstream_agents import spec

if TYPE_CHECKING:
    from crewai import CrewOutput, TaskOutput
    from pydantic import BaseModel


def readable(result: CrewOutput) -> str:
    """What a person reads: a structured result may know how to show itself."""
    shown = getattr(result.pydantic, "to_markdown", None)
    return clean(str(shown()) if callable(shown) else result.raw)


def structured(result: CrewOutput) -> str | None:
    """The structured result as JSON, of whichever kind it is."""
    return _model(result.pydantic) or _json(result.json_dict)


def crew_output(result: CrewOutput) -> spec.CrewOutput:
    """A crew's result under CrewAI's names."""
    return spec.CrewOutput(
        raw=clean(result.raw),
        json_dict=_json(result.json_dict),
        pydantic=_model(result.pydantic),
        tasks_output=[_task_output(one) for one in result.tasks_output],
    )


def clean(text: str) -> str:
    """Lone surrogates, which a model can produce, have no UTF-8 and could not be sent."""
    return text.encode("utf-8", "replace").decode()


def _task_output(output: TaskOutput) -> spec.TaskOutput:
    return spec.TaskOutput(
        name=clean(output.name or ""),
        description=clean(output.description),
        agent=clean(output.agent),
        raw=clean(output.raw),
        json_dict=_json(output.json_dict),
        pydantic=_model(output.pydantic),
        output_format=output.output_format.value,
    )


def _model(model: BaseModel | None) -> str | None:
    if model is None:
        return None
    try:
        return clean(model.model_dump_json())
    except PydanticSerializationError:  # a field of a type that has no JSON
        return _json(model.model_dump())


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, default=str)
