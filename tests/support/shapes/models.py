"""Models of the shapes: scripted, and noting every request."""

from __future__ import annotations

import json
from typing import Any

from crewsample.model import Plan, ScriptedModel
from pydantic import Field
from typing_extensions import override


class Model(ScriptedModel):
    """Calls the tools of its plan, then answers; it can be told how large its window is."""

    log: Any = None
    window_tokens: int = 128_000
    turns: list[int] = Field(default_factory=list)

    @override
    def get_context_window_size(self) -> int:
        return self.window_tokens

    @override
    def decide(self, messages: list[Any], tools: Any, response_model: Any) -> Any:
        self.log.ask([messages, self.stop_sequences], tools, response_model)
        self.turns.append(len(messages))
        return self.answer(messages, tools, response_model)

    def answer(self, messages: list[Any], tools: Any, response_model: Any) -> Any:
        """What the script says."""
        return super().decide(messages, tools, response_model)


class AtOnce(Model):
    """Asks for several tool calls in one turn."""

    calls: Any = (("price", {"sku": "S0"}), ("price", {"sku": "S1"}), ("price", {"sku": "S2"}))

    @override
    def answer(self, messages: list[Any], tools: Any, response_model: Any) -> Any:
        results = [str(m["content"]) for m in messages if m["role"] == "tool"]
        if results:
            return "sum " + ",".join(sorted(results))
        return [
            native(name, arguments, number) for number, (name, arguments) in enumerate(self.calls)
        ]


class Unparsable(Model):
    """Answers once with text that is neither an action nor an answer of the text protocol."""

    @override
    def answer(self, messages: list[Any], tools: Any, response_model: Any) -> Any:
        if len(self.turns) < 2:
            return "Thought: hm\nAction: price\nno input here"
        return "Thought: now\nFinal Answer: mended"


class NoNativeTools(Model):
    """Says that it knows native tools; the provider disagrees, so the loop goes on in text."""

    @override
    def answer(self, messages: list[Any], tools: Any, response_model: Any) -> Any:
        if tools:
            raise ValueError("this model does not support tools")
        return super().answer(messages, tools, response_model)


class OverflowsOnce(Model):
    """Its first call is too long for the context window."""

    @override
    def answer(self, messages: list[Any], tools: Any, response_model: Any) -> Any:
        if len(self.turns) == 1:
            raise RuntimeError("maximum context length exceeded: context_length_exceeded")
        if len(self.turns) == 2:
            return "<summary>short</summary>"
        return "answer after overflow" if tools else "Final Answer: answer after overflow"


class Wordy(Model):
    """Asks for long answers until CrewAI has made a summary of them, and then no more."""

    @override
    def answer(self, messages: list[Any], tools: Any, response_model: Any) -> Any:
        if not tools:
            return "<summary>all that was said</summary>"
        if len(self.turns) > 4 or "all that was said" in str(messages):
            return "answer from a summary"
        return [native("long", {"x": len(self.turns)}, len(self.turns))]


class FailsOnce(Model):
    """Its first call fails; the agent tries again."""

    error: Any = ConnectionError("provider down")

    @override
    def answer(self, messages: list[Any], tools: Any, response_model: Any) -> Any:
        if len(self.turns) == 1:
            raise self.error
        return super().answer(messages, tools, response_model)


class Silent(Model):
    """Answers nothing at first."""

    @override
    def answer(self, messages: list[Any], tools: Any, response_model: Any) -> Any:
        return "" if len(self.turns) == 1 else super().answer(messages, tools, response_model)


class Garbled(Model):
    """Gives a native tool arguments that are no JSON."""

    @override
    def answer(self, messages: list[Any], tools: Any, response_model: Any) -> Any:
        if any(m["role"] == "tool" for m in messages):
            return "gave up"
        function = {"name": "price", "arguments": '{"sku": '}
        return [{"id": "call_0", "type": "function", "function": function}]


class Streaming(Model):
    """Tells its answer in pieces, as a streaming provider does."""

    @override
    def answer(self, messages: list[Any], tools: Any, response_model: Any) -> Any:
        told = super().answer(messages, tools, response_model)
        for piece in str(told).split():
            self._emit_stream_chunk_event(piece)
        return told


def native(name: str, arguments: dict[str, Any], number: int) -> dict[str, Any]:
    """A native tool call."""
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"id": f"call_{number}", "type": "function", "function": function}


def steps(*calls: tuple[str, dict[str, Any]]) -> Plan:
    """A plan that is the same whatever is asked."""
    return lambda _, __: list(calls)
