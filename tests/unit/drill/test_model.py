"""The model server's answers are a function of what it is asked."""

from __future__ import annotations

import json
from typing import Any

from crewstream.drill.calls import tokens_in
from crewstream.drill.model import answer, understand

TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "parameters": {"properties": {"topic": {"type": "string"}}},
    },
}


def body(*more: dict[str, Any], steps: int = 2, tools: bool = True) -> dict[str, Any]:
    order = {"role": "user", "content": f"Look up. drill: ref=w/t steps={steps} refuse=0"}
    return {"model": "m", "messages": [order, *more], "tools": [TOOL] if tools else None}


def ask(given: dict[str, Any]) -> dict[str, Any]:
    return answer(given, understand(given))


def test_it_calls_the_tool_once_a_step_and_then_reports() -> None:
    conversation: list[dict[str, Any]] = []
    for step in (1, 2):
        said = ask(body(*conversation))
        arguments = json.loads(said["tool_calls"][0]["function"]["arguments"])
        assert arguments["topic"].startswith(f"w/t#{step}@ans-")
        result = {"role": "tool", "tool_call_id": "x", "content": f"fact:{arguments['topic']}"}
        conversation += [said, result]
    assert "Report on w/t after 2 of 2" in ask(body(*conversation))["content"]


def test_without_native_tools_it_speaks_in_words() -> None:
    words = {"role": "system", "content": "Tool Name: look_up\nTool Arguments: {}"}
    said = ask(body(words, tools=False))["content"]
    assert "Action: look_up" in said
    topic = json.loads(said.partition("Action Input: ")[2])["topic"]
    seen = {"role": "assistant", "content": f"{said}\nObservation: fact:{topic}"}
    assert "Action: look_up" in ask(body(words, seen, tools=False))["content"]
    assert "Final Answer:" in ask(body(words, seen, steps=1, tools=False))["content"]


def test_content_is_model_and_messages_and_nothing_else() -> None:
    first = understand(body())
    assert understand({**body(), "temperature": 1}).content == first.content
    assert understand({**body(), "model": "n"}).content != first.content
    assert understand(body({"role": "user", "content": "more"})).content != first.content
    order = body()["messages"][0]
    assert understand({**body(), "messages": [dict(reversed(order.items()))]}) == first


def test_an_answer_is_known_by_its_mark_wherever_it_goes() -> None:
    said = ask(body())
    mark = understand(body()).token
    assert tokens_in(json.dumps(said)) == [mark]
    assert understand(body(said)).used == [mark]
