"""What is wrong with the inputs of a request: no JSON, too large, references that lead nowhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet

from crewstream.contracts.events import Fault, WorkflowRequested
from crewstream.domain.references import Reference, may_refer, references

Ancestors = Mapping[str, AbstractSet[str]]


def input_faults(text: str, path: str, most_bytes: int) -> Iterator[Fault]:
    """What is wrong with the inputs of a workflow or task by themselves."""
    if text == "{}":  # as most tasks have it
        return
    size = len(text.encode())
    if size > most_bytes:
        message = f"{size} bytes; at most {most_bytes} are taken: send large data by reference"
        yield Fault(code="inputs.too_large", path=path, message=message)
        return
    try:
        value = _JSON.decode(text)
    except (ValueError, RecursionError) as error:
        yield Fault(code="inputs.not_json", path=path, message=f"not JSON: {error}")
        return
    if not isinstance(value, dict):
        message = f"a JSON object is wanted, not {type(value).__name__}"
        yield Fault(code="inputs.not_an_object", path=path, message=message)


def reference_faults(
    request: WorkflowRequested, ancestors: Callable[[], Ancestors]
) -> Iterator[Fault]:
    """References that are not well-formed, or are about what does not end before their task.

    `ancestors` brings, of each task, the tasks that end before it.
    """
    awaited = {each.workflow_id for each in request.after}
    if may_refer(request.inputs):
        yield from _faults(request.inputs, "inputs", frozenset(), awaited)
    if any(may_refer(task.inputs) for task in request.tasks):
        before = ancestors()
        for number, task in enumerate(request.tasks):
            path = f"tasks[{number}].inputs"
            yield from _faults(task.inputs, path, before[task.task_id], awaited)


def _faults(
    text: str, path: str, tasks: AbstractSet[str], workflows: AbstractSet[str]
) -> Iterator[Fault]:
    try:
        found = list(references(_JSON.decode(text), path))
    except (ValueError, RecursionError) as error:
        if may_refer(text):
            yield Fault(code="inputs.invalid_reference", path=path, message=str(error))
        return
    for each in found:
        if message := _leads_nowhere(each, tasks, workflows):
            yield Fault(code="inputs.unknown_reference", path=each.path, message=message)


def _leads_nowhere(each: Reference, tasks: AbstractSet[str], workflows: AbstractSet[str]) -> str:
    if each.workflow:
        known = each.workflow in workflows
        return "" if known else f"{each.workflow!r} is not among the workflows in after"
    if each.task in tasks:
        return ""
    return f"{each.task!r} is no task that this one depends on: name it in depends_on"


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


_JSON = json.JSONDecoder(parse_constant=_no_constant)
