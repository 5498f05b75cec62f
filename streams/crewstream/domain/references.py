"""References in inputs: the output of a task or of another workflow takes their place.

`{"$from": {"task": "research", "select": "json.score", "default": 0}}` anywhere in inputs stands
for what the JMESPath expression `select` (https://jmespath.org) finds in the task's document
`{"status": …, "output": …, "json": …}`; without `select` it is `output`. With `workflow` beside it,
or alone, it is about a workflow that is waited for; a workflow's own document is
`{"status": …, "tasks": {task_id: document}}`, and its default selection is all of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError

FROM = "$from"
_FIELDS = frozenset({"task", "workflow", "select", "default"})

Document = Mapping[str, Any]


class Unresolved(Exception):
    """A reference finds nothing, and has no default; or its expression does not fit."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What stands at `path` of the inputs in place of a value."""

    path: str
    task: str
    workflow: str
    select: str
    default: Any = None
    has_default: bool = False


def may_refer(inputs: str) -> bool:
    """Whether there can be a reference in it; cheap, for the many that have none."""
    return f'"{FROM}"' in inputs


def references(inputs: Any, path: str) -> Iterator[Reference]:
    """Every reference in inputs. Raises ValueError: one of them is not well-formed, and why."""
    for at, value in _walk(inputs, path):
        yield _reference(value[FROM], at)


def filled(inputs: Any, find: Callable[[Reference], Document | None], path: str = "inputs") -> Any:
    """The inputs with every reference replaced. Raises Unresolved.

    `find` brings the document that a reference is about, or None when there is none.
    """
    if _is_reference(inputs):
        return _value(_reference(inputs[FROM], path), find)
    if isinstance(inputs, dict):
        return {name: filled(value, find, f"{path}.{name}") for name, value in inputs.items()}
    if isinstance(inputs, list):
        return [filled(value, find, f"{path}[{n}]") for n, value in enumerate(inputs)]
    return inputs


def document(status: str, output: str, output_json: str | None) -> Document:
    """What can be selected from a task; structured output that is no JSON is none."""
    try:
        structured = None if output_json is None else json.loads(output_json)
    except (ValueError, RecursionError):
        structured = None
    return {"status": status, "output": output, "json": structured}


def _value(reference: Reference, find: Callable[[Reference], Document | None]) -> Any:
    found = find(reference)
    try:
        value = None if found is None else jmespath.search(reference.select, found)
    except JMESPathError as error:  # such as the length of a number
        raise Unresolved(f"{reference.path}: {reference.select!r}: {error}") from error
    if value is None and not reference.has_default:
        what = f"task {reference.task!r}" if reference.task else f"workflow {reference.workflow!r}"
        raise Unresolved(
            f"{reference.path}: {reference.select!r} finds nothing in {what}: mend the expression,"
            ' or give the reference a "default"'
        )
    return reference.default if value is None else value


def _walk(inputs: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if _is_reference(inputs):
        yield path, inputs
    elif isinstance(inputs, dict):
        for name, value in inputs.items():
            yield from _walk(value, f"{path}.{name}")
    elif isinstance(inputs, list):
        for number, value in enumerate(inputs):
            yield from _walk(value, f"{path}[{number}]")


def _is_reference(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {FROM}


def _reference(value: Any, path: str) -> Reference:
    if not isinstance(value, dict) or not value.keys() <= _FIELDS:
        raise ValueError(f"{path}: {FROM} takes an object of {', '.join(sorted(_FIELDS))}")
    task, workflow = value.get("task", ""), value.get("workflow", "")
    if not isinstance(task, str) or not isinstance(workflow, str) or not (task or workflow):
        raise ValueError(f"{path}: {FROM} names a task or a workflow")
    select = value.get("select", "output" if task else "@")
    try:
        jmespath.compile(select)
    except (JMESPathError, TypeError) as error:
        raise ValueError(f"{path}: {select!r} is no JMESPath expression: {error}") from error
    return Reference(path, task, workflow, select, value.get("default"), "default" in value)
