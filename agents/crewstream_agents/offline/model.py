"""A deterministic CrewAI model without a model: no network, no key, no knowledge of projects."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from crewai import BaseLLM
from crewai.events.types.llm_events import LLMCallType
from crewai.llms.base_llm import llm_call_context
from crewai.utilities.pydantic_schema_utils import generate_model_description
from pydantic import BaseModel
from typing_extensions import override

from crewstream_agents.offline.answer import readable, structured
from crewstream_agents.offline.arguments import next_step
from crewstream_agents.offline.conversation import read

if TYPE_CHECKING:
    from crewai.agents.agent_builder.base_agent import BaseAgent
    from crewai.task import Task

OFFLINE: Final = "offline/deterministic"


class OfflineModel(BaseLLM):
    """Calls each tool that it is offered once, then answers with what the tools returned.

    Arguments are taken from the task's data by name and type. The same conversation gets the same
    answer, and every answer says that no language model was used. Tokens are counted as one for
    every four characters. `latency_s` makes each call take that long, for benchmarks. `native`
    chooses between function calling and CrewAI's text protocol (ReAct). `stands_for` is the
    name of the model in whose place it was made.
    """

    latency_s: float = 0.0
    native: bool = True
    stands_for: str = ""

    def __init__(self, *, model: str = OFFLINE, **options: Any) -> None:
        super().__init__(model=model, **options)

    def supports_function_calling(self) -> bool:
        return self.native

    @override
    def get_context_window_size(self) -> int:
        # It reads nothing as a model does, so nothing is ever too long for it.
        return 10_000_000

    @override
    def get_input_tokens_count(
        self, messages: Any, tools: Any = None, response_model: type[BaseModel] | None = None
    ) -> int:
        text = messages if isinstance(messages, str) else _joined(messages)
        return _tokens(text) + (_tokens(json.dumps(tools, default=str)) if tools else 0)

    @override
    def call(
        self,
        messages: Any,
        tools: Any = None,
        callbacks: list[Any] | None = None,
        available_functions: dict[str, Any] | None = None,
        from_task: Task | None = None,
        from_agent: BaseAgent | None = None,
        response_model: type[BaseModel] | None = None,
    ) -> Any:
        with self._announced(messages, tools, from_task, from_agent) as exchange:
            time.sleep(self.latency_s)
            return exchange.answer(response_model)

    @override
    async def acall(
        self,
        messages: Any,
        tools: Any = None,
        callbacks: list[Any] | None = None,
        available_functions: dict[str, Any] | None = None,
        from_task: Task | None = None,
        from_agent: BaseAgent | None = None,
        response_model: type[BaseModel] | None = None,
    ) -> Any:
        with self._announced(messages, tools, from_task, from_agent) as exchange:
            await asyncio.sleep(self.latency_s)
            return exchange.answer(response_model)

    @contextmanager
    def _announced(
        self, messages: Any, tools: Any, task: Task | None, agent: BaseAgent | None
    ) -> Iterator[_Exchange]:
        """Make a call visible to CrewAI's events, hooks and usage, as its own providers do."""
        formatted = self._format_messages(messages)
        exchange = _Exchange(formatted, tools)
        with llm_call_context():
            self._emit_call_started_event(formatted, tools, from_task=task, from_agent=agent)
            self._invoke_before_llm_call_hooks(formatted, agent)
            try:
                yield exchange
            except Exception as error:
                self._emit_call_failed_event(str(error), from_task=task, from_agent=agent)
                raise
            usage = self._usage(exchange)
            self._track_token_usage_internal(usage)
            self._emit_call_completed_event(
                exchange.answered,
                LLMCallType.TOOL_CALL if exchange.called_tool else LLMCallType.LLM_CALL,
                from_task=task,
                from_agent=agent,
                messages=formatted,
                usage=usage,
                finish_reason="tool_calls" if exchange.called_tool else "stop",
            )

    def _usage(self, exchange: _Exchange) -> dict[str, int]:
        asked = self.get_input_tokens_count(exchange.messages, exchange.tools)
        answered = _tokens(exchange.text())
        return {
            "prompt_tokens": asked,
            "completion_tokens": answered,
            "total_tokens": asked + answered,
        }


class _Exchange:
    """One question and its answer."""

    def __init__(self, messages: Any, tools: Any) -> None:
        self.messages = messages
        self.tools = tools
        self.answered: Any = None

    @property
    def called_tool(self) -> bool:
        return isinstance(self.answered, list)

    def text(self) -> str:
        if isinstance(self.answered, BaseModel):
            return self.answered.model_dump_json()
        return self.answered if isinstance(self.answered, str) else json.dumps(self.answered)

    def answer(self, response_model: type[BaseModel] | None) -> Any:
        self.answered = _decide(self.messages, self.tools, response_model)
        return self.answered


def _decide(messages: Any, tools: Any, response_model: type[BaseModel] | None) -> Any:
    talk = read(messages, tools)
    step = next_step(talk)
    if step.tool is not None:
        arguments = json.dumps(step.arguments, ensure_ascii=False)
        if talk.react:
            return f"Thought: {step.tool} is next\nAction: {step.tool}\nAction Input: {arguments}"
        function = {"name": step.tool, "arguments": arguments}
        return [{"id": f"call_{len(talk.results)}", "type": "function", "function": function}]
    if response_model is not None:
        schema = generate_model_description(response_model)["json_schema"]["schema"]
        return response_model.model_validate(structured(talk, step, schema))
    if talk.answer_schema is not None:
        final = json.dumps(structured(talk, step, talk.answer_schema), ensure_ascii=False)
    else:
        final = readable(talk, step)
    return f"Thought: all tools have answered\nFinal Answer: {final}" if talk.react else final


def _joined(messages: Any) -> str:
    return "".join(str(message.get("content") or "") for message in messages)


def _tokens(text: str) -> int:
    return -(-len(text) // 4)
