"""Composes the final answer from what the tools returned, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import shorten
from typing import Any, ClassVar, Final

from crewstream_agents.offline.arguments import Step
from crewstream_agents.offline.conversation import Conversation
from crewstream_agents.offline.shapes import MISSING, Schema, fitted, named, nullable, options

NOTICE: Final = "Prepared by the offline model: the tools' results, no language model was used."

#: Characters of what a tool said that go into a remark.
LONGEST_REMARK: Final = 500


class Unanswerable(ValueError):
    """The tools' results do not fill the result that is asked for; a language model might."""

    error_type: ClassVar[str] = "model.unanswerable"


def structured(talk: Conversation, step: Step, schema: Schema) -> dict[str, Any]:
    """Return an instance of `schema` by matching its fields with the tools' results by name.

    Lists of several results are joined, texts too; anything else is taken from the first that
    fits, then from the task's data. Raises Unanswerable when a required field is found nowhere.
    """
    results = [result.value for result in talk.results if isinstance(result.value, Mapping)]
    answer, lacking = _object(schema, results, talk.data)
    if lacking:
        raise Unanswerable(
            " ".join(
                [
                    f"The tools' results have nothing for {', '.join(lacking)}.",
                    *_remarks(talk, step),
                    "Mend the inputs, or set MODEL to use a language model.",
                ]
            )
        )
    return _signed(answer, schema, _remarks(talk, step))


def readable(talk: Conversation, step: Step) -> str:
    """Return a markdown report of the tools' results."""
    parts = [f"_{NOTICE}_"]
    if not talk.results:
        parts.append("There were no tools that could be called, so there are no results.")
    for result in talk.results:
        body = result.text if result.value is None else _markdown(result.value)
        parts.append(f"## {result.tool.replace('_', ' ').capitalize()}\n\n{body}")
    parts += _skipped(step)
    return "\n\n".join(parts)


def _object(
    schema: Schema, results: Sequence[Any], data: Sequence[Any]
) -> tuple[dict[str, Any], list[str]]:
    answer: dict[str, Any] = {}
    lacking: list[str] = []
    properties: Mapping[str, Schema] = schema.get("properties") or {}
    for name, inner in properties.items():
        value = _field(name, inner, results)
        if value is MISSING and "default" not in inner:
            value = _field(name, inner, data)
            if value is MISSING:
                value = _absent(name, inner, results, data, lacking)
        if value is not MISSING:
            answer[name] = value
    return answer, lacking


def _field(name: str, schema: Schema, sources: Sequence[Any]) -> Any:
    fitting = [
        shaped
        for value in named(name, sources)
        if (shaped := fitted(value, schema)) is not MISSING and shaped is not None
    ]
    if not fitting:
        return MISSING
    if all(isinstance(value, list) for value in fitting):
        return _unique([item for value in fitting for item in value])
    if all(isinstance(value, str) for value in fitting) and _is_prose(schema):
        return " ".join(_unique(fitting))
    return fitting[0]


def _absent(
    name: str, schema: Schema, results: Sequence[Any], data: Sequence[Any], lacking: list[str]
) -> Any:
    """Return what stands for a field that no result has; note its name when nothing may."""
    for option in options(schema):
        if option.get("type") == "object" and option.get("properties"):
            inner, missing = _object(option, results, data)
            if not missing:
                return inner
            lacking += [f"{name}.{each}" for each in missing]
            return MISSING
    if nullable(schema):
        return None
    if name != "prepared_by":
        lacking.append(name)
    return MISSING


def _is_prose(schema: Schema) -> bool:
    return not any(
        key in option for option in options(schema) for key in ("enum", "const", "pattern")
    )


def _unique(items: Sequence[Any]) -> list[Any]:
    return [item for index, item in enumerate(items) if item not in items[:index]]


def _signed(answer: dict[str, Any], schema: Schema, remarks: list[str]) -> dict[str, Any]:
    """Say in the answer, where it has a place for it, who made it and what went wrong."""
    properties: Mapping[str, Schema] = schema.get("properties") or {}
    signed = dict(answer)
    if "notes" in properties and fitted(remarks, properties["notes"]) is not MISSING:
        signed["notes"] = [*signed.get("notes", []), *remarks]
    if "prepared_by" in properties:
        signed["prepared_by"] = NOTICE
    elif isinstance(signed.get("notes"), list):
        signed["notes"] = [*signed["notes"], NOTICE]
    elif isinstance(signed.get("summary"), str):
        signed["summary"] = f"{signed['summary']} {NOTICE}"
    return signed


def _remarks(talk: Conversation, step: Step) -> list[str]:
    said = [
        f"{result.tool} said: {shorten(result.text, LONGEST_REMARK)}"
        for result in talk.results
        if result.value is None
    ]
    return [*said, *_skipped(step)]


def _skipped(step: Step) -> list[str]:
    return [
        f"{tool} was not called: the task says nothing about {', '.join(names)}."
        for tool, names in step.skipped.items()
    ]


def _markdown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "\n".join(f"- {key}: {_inline(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return "\n".join(f"- {_inline(item)}" for item in value)
    return str(value)


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_inline(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return "; ".join(_inline(item) for item in value)
    return str(value)
