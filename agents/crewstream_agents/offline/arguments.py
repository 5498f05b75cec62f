"""Chooses which tool to call next, and with what, from the task and from earlier results."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from crewstream_agents.offline.conversation import Conversation, Tool
from crewstream_agents.offline.shapes import MISSING, Schema, fitted, named, nullable, options

# Text that a tool wants in these words is the task itself.
_ASKED: Final = ("task", "question", "query", "request")
_ORDINARY_WORDS: Final = ("the", "Analyze", "2", "a b")


@dataclass(frozen=True, slots=True)
class Step:
    """What to do next: a tool to call with `arguments`, or none, with the tools left out.

    `skipped`: the required arguments that were not found, by tool.
    """

    tool: str | None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    skipped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def next_step(talk: Conversation) -> Step:
    """Return the first offered tool that was not called and whose arguments are known."""
    called = {result.tool for result in talk.results}
    skipped: dict[str, tuple[str, ...]] = {}
    for tool in talk.tools:
        if tool.name in called:
            continue
        arguments, lacking = _arguments(tool, talk)
        if not lacking:
            return Step(tool.name, arguments)
        skipped[tool.name] = lacking
    return Step(None, skipped=skipped)


def _arguments(tool: Tool, talk: Conversation) -> tuple[dict[str, Any], tuple[str, ...]]:
    found, lacking = {}, []
    properties: Mapping[str, Schema] = tool.schema.get("properties") or {}
    for name, schema in properties.items():
        value = _argument(name, schema, tool, talk)
        if value is not MISSING:
            found[name] = value
        elif "default" not in schema and not nullable(schema):
            lacking.append(name)
    return found, tuple(lacking)


def _argument(name: str, schema: Schema, tool: Tool, talk: Conversation) -> Any:
    given = next((block[name] for block in talk.data if block.get(name) is not None), MISSING)
    if given is not MISSING:
        shaped = fitted(given, schema)
        # What was asked for in so many words but does not fit is for the tool to refuse.
        return given if shaped is MISSING else shaped
    results = [result.value for result in reversed(talk.results)]
    # The request's own words come before what an earlier task was about.
    candidates = (
        *(fitted(value, schema) for value in (*named(name, talk.data), *named(name, results))),
        *(_from_text(name, option, tool, talk) for option in options(schema)),
        *(fitted(value, schema) for value in named(name, talk.upstream)),
    )
    return next((value for value in candidates if value not in (MISSING, None)), MISSING)


def _from_text(name: str, schema: Schema, tool: Tool, talk: Conversation) -> Any:
    """Return what the words of the task say of an argument: a choice, a pattern, or the task."""
    if "enum" in schema:
        words = set(re.findall(r"\w+", talk.prose.lower()))
        return next((each for each in schema["enum"] if str(each).lower() in words), MISSING)
    if schema.get("type") != "string":
        return MISSING
    if "pattern" in schema:
        return _matching(schema["pattern"], talk.prose)
    if name in _ASKED:
        return talk.prose.strip()
    return _delegated(name, tool, talk)


def _delegated(name: str, tool: Tool, talk: Conversation) -> Any:
    """Return what CrewAI's delegation tools ask for: someone there, all that is known."""
    listed = re.search(r"coworkers: *(.+)", tool.description)
    if listed is None or name not in ("coworker", "context"):
        return MISSING
    return listed[1].split(",")[0].strip(" []'\"") if name == "coworker" else talk.task.strip()


def _matching(pattern: str, prose: str) -> Any:
    core = pattern.removeprefix("^").removesuffix("$")
    try:
        # A pattern that any word matches says nothing about which one is meant.
        if any(re.fullmatch(core, word) for word in _ORDINARY_WORDS):
            return MISSING
        found = next(
            (hit for text in (prose, prose.upper()) if (hit := re.search(core, text))), None
        )
    except re.error:
        return MISSING
    return found[0] if found else MISSING
