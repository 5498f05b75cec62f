"""Reads what CrewAI tells a model: the task, its data, the tools, their results, the format."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from crewstream_agents.offline.shapes import Schema

Message = Mapping[str, Any]

# JSON text has no line that is only a fence: line feeds in its strings are escaped.
_FENCE: Final = re.compile(r"^```json[ \t]*\n(.*?)\n```[ \t]*$", re.DOTALL | re.MULTILINE)
_FORMAT: Final = re.compile(
    r"^Format your final answer according to the following OpenAPI schema:\s*", re.MULTILINE
)
_REACT_TOOL: Final = re.compile(
    r"Tool Name: (?P<name>.+?)\nTool Arguments: (?P<schema>\{.*?\})\nTool Description: "
    r"(?P<description>.*?)(?=\nTool Name: |\n\nIMPORTANT: |\Z)",
    re.DOTALL,
)
_REACT_STEP: Final = re.compile(
    r"^Action: (?P<name>.+?)$.*?(?:^Observation: ?(?P<result>.*?))?"
    r"(?=^(?:Thought|Action|Final Answer): |\Z)",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool that is offered; `schema` is the JSON schema of its arguments."""

    name: str
    schema: Schema
    description: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool returned: `value` is its JSON, None when the text is not JSON."""

    tool: str
    text: str
    value: Any


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation so far.

    `data` are the JSON objects in the task, `upstream` those in lists: what earlier tasks brought.
    `react` says that tools are called in text, not natively.
    """

    task: str
    prose: str
    data: tuple[Mapping[str, Any], ...]
    upstream: tuple[Mapping[str, Any], ...]
    tools: tuple[Tool, ...]
    results: tuple[Result, ...]
    answer_schema: Schema | None
    react: bool


def read(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None) -> Conversation:
    """Return what a conversation says. `tools` are in OpenAI's form, None in text mode."""
    task = next((_text(m) for m in messages if m["role"] == "user"), "")
    offered = tuple(_native_tool(tool) for tool in tools or ())
    in_text = () if offered else tuple(_react_tools(messages))
    results = _react_results(messages) if in_text else _native_results(messages)
    before, schema = _answer_format(task)
    blocks = [parsed(block) for block in _FENCE.findall(task)]
    return Conversation(
        task=task,
        prose=_FENCE.sub("", before),
        data=tuple(block for block in blocks if isinstance(block, Mapping)),
        upstream=tuple(
            item
            for block in blocks
            if isinstance(block, list)
            for item in block
            if isinstance(item, Mapping)
        ),
        tools=offered or in_text,
        results=tuple(results),
        answer_schema=schema,
        react=bool(in_text),
    )


def parsed(text: str) -> Any:
    """Return the JSON value of a text, or None when it is not JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def _text(message: Message) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content if isinstance(part, Mapping))


def _answer_format(task: str) -> tuple[str, Schema | None]:
    """Return what stands before CrewAI's format instructions, and the schema in them."""
    found = _FORMAT.search(task)
    if found is None:
        return task, None
    try:
        schema, _ = json.JSONDecoder().raw_decode(task, found.end())
    except ValueError:
        return task, None
    return task[: found.start()], schema if isinstance(schema, dict) else None


def _native_tool(tool: Mapping[str, Any]) -> Tool:
    function = tool["function"]
    return Tool(function["name"], function.get("parameters") or {}, function.get("description", ""))


def _native_results(messages: Sequence[Message]) -> Iterator[Result]:
    names = {
        str(call["id"]): call["function"]["name"]
        for message in messages
        for call in message.get("tool_calls") or ()
    }
    for message in messages:
        if message["role"] == "tool":
            text = _text(message)
            name = names.get(str(message.get("tool_call_id")), str(message.get("name")))
            yield Result(name, text, _value(text))


def _value(text: str) -> Any:
    """Return the JSON that a result is, or begins with: CrewAI adds reminders after it."""
    if not text.startswith(("{", "[")):
        return parsed(text)
    try:
        return json.JSONDecoder().raw_decode(text)[0]
    except ValueError:
        return None


def _react_tools(messages: Sequence[Message]) -> Iterator[Tool]:
    prompt = "\n".join(_text(m) for m in messages if m["role"] in ("system", "user"))
    if "Action Input:" not in prompt:
        return
    for found in _REACT_TOOL.finditer(prompt):
        schema = parsed(found["schema"]) or {}
        properties = schema if "properties" in schema else {"properties": schema}
        yield Tool(found["name"].strip(), properties, found["description"])


def _react_results(messages: Sequence[Message]) -> Iterator[Result]:
    for message in messages:
        if message["role"] == "assistant":
            for step in _REACT_STEP.finditer(_text(message)):
                text = (step["result"] or "").strip()
                yield Result(step["name"].strip(), text, _value(text))
