"""A scripted model: what it does is a function of the task's text, so runs repeat exactly."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crewai import BaseLLM
from crewai.events.types.llm_events import LLMCallType
from crewai.llms.base_llm import llm_call_context
from pydantic import BaseModel
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Mapping

    from crewai import Crew

    from crewstream_agents.spec import CrewTask

Plan = Callable[[str, list[str]], list[tuple[str, dict[str, Any]]]]
Compose = Callable[[str, list[str]], str]


class ScriptedModel(BaseLLM):
    """Calls the tools of `plan` one after the other, then answers with `compose`."""

    native: bool = True
    latency_s: float = 0.0
    block_s: float = 0.0
    """How long a call blocks the loop that it runs on, which a well-behaved model never does."""
    plan: Plan | None = None
    compose: Compose | None = None

    def supports_function_calling(self) -> bool:
        return self.native

    @override
    def supports_stop_words(self) -> bool:
        return True

    @override
    def get_context_window_size(self) -> int:
        return 128_000

    @override
    def get_input_tokens_count(self, messages: Any, *_: Any, **__: Any) -> int:
        return len(str(messages)) // 4

    @override
    def call(self, messages: Any, tools: Any = None, *_: Any, **known: Any) -> Any:
        time.sleep(self.latency_s)
        return self._answer(messages, tools, **known)

    @override
    async def acall(self, messages: Any, tools: Any = None, *_: Any, **known: Any) -> Any:
        time.sleep(self.block_s)  # noqa: ASYNC251 - the misbehaviour that is wanted
        await asyncio.sleep(self.latency_s)
        return self._answer(messages, tools, **known)

    def _answer(self, messages: Any, tools: Any, **known: Any) -> Any:
        asked = self._format_messages(messages)
        whose = {key: known.get(key) for key in ("from_task", "from_agent")}
        with llm_call_context():
            self._emit_call_started_event(messages=asked, tools=tools, **whose)
            if not self._invoke_before_llm_call_hooks(asked, whose["from_agent"]):
                raise ValueError("blocked by a hook")
            answer = self.decide(asked, tools, known.get("response_model"))
            used = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
            kind = LLMCallType.TOOL_CALL if isinstance(answer, list) else LLMCallType.LLM_CALL
            self._emit_call_completed_event(
                response=answer, call_type=kind, messages=asked, usage=used, **whose
            )
            return answer

    def decide(self, messages: list[Any], tools: Any, response_model: Any) -> Any:
        text = next((str(m["content"]) for m in messages if m["role"] == "user"), "")
        done = results_so_far(messages)
        todo = self.plan(text, tool_names(messages, tools)) if self.plan else []
        if len(done) < len(todo):
            return self._use(*todo[len(done)], number=len(done), native=bool(tools))
        final = self.compose(text, done) if self.compose else "; ".join(done) or "done"
        if isinstance(response_model, type) and issubclass(response_model, BaseModel):
            return response_model.model_validate_json(final)
        return final if tools else f"Thought: I know\nFinal Answer: {final}"

    @staticmethod
    def _use(name: str, arguments: dict[str, Any], *, number: int, native: bool) -> Any:
        if not native:
            return f"Thought: use it\nAction: {name}\nAction Input: {json.dumps(arguments)}"
        function = {"name": name, "arguments": json.dumps(arguments)}
        return [{"id": f"call_{number}", "type": "function", "function": function}]


def results_so_far(messages: list[Any]) -> list[str]:
    """What the tools have returned: tool messages, or the Observations of a text protocol."""
    found = [str(m["content"]) for m in messages if m["role"] == "tool"]
    for message in messages:
        if message["role"] == "assistant" and message.get("content"):
            pattern = r"\nObservation: (.*?)(?=\n(?:Thought|Action|Observation):|\Z)"
            found += re.findall(pattern, message["content"], re.DOTALL)
    return found


def tool_names(messages: list[Any], tools: Any) -> list[str]:
    if tools:
        return [tool["function"]["name"] for tool in tools]
    system = next((str(m["content"]) for m in messages if m["role"] == "system"), "")
    return re.findall(r"Tool Name: (\S+)", system)


@dataclass(frozen=True, slots=True)
class Choice:
    """What crewstream_agents.models.ModelChoice is, in its two fields."""

    model: str
    offline: bool


def assign(crew: Crew, task: CrewTask, environ: Mapping[str, str]) -> Choice:
    """Give the crew's agents a model that does what the task's inputs say.

    Inputs: `latency_s` per model call, `block_s` of it on the loop, `nap_s` the length of one
    blocking tool call, `crash` one tool call that kills the runner, `sku` a price lookup, `say` the
    final answer, `model_error` what the model raises.
    """
    script = task.inputs
    latency_s = float(str(script.get("latency_s", environ.get("SAMPLE_LATENCY_S", 0))))
    for agent in crew.agents:
        agent.llm = ScriptedModel(
            model="scripted/model",
            latency_s=latency_s,
            block_s=float(str(script.get("block_s", 0))),
            plan=lambda _, tools: _plan(script, tools),
            compose=lambda _, results: _compose(script, results),
        )
    return Choice("scripted/model", offline=True)


def _plan(script: Mapping[str, object], tools: list[str]) -> list[tuple[str, dict[str, Any]]]:
    steps: list[tuple[str, dict[str, Any]]] = []
    if "price_lookup" in tools and "sku" in script:
        steps.append(("price_lookup", {"sku": script["sku"]}))
    if "nap" in tools and "nap_s" in script:
        steps.append(("nap", {"seconds": script["nap_s"]}))
    if "crash" in tools and "crash" in script:
        steps.append(("crash", {}))
    return steps


def _compose(script: Mapping[str, object], results: list[str]) -> str:
    if "model_error" in script:
        raise ConnectionError(str(script["model_error"]))
    return str(script.get("say", "; ".join(results) or "done"))
