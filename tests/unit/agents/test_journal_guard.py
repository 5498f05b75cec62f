"""The names of CrewAI that the journal leans on are there, and mean what it takes them to mean."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import crewai
import pytest
from crewai.context import get_current_task_id
from crewai.events.stream_context import add_stream_sink, reset_stream_sinks
from crewai.events.types.crew_events import CrewKickoffStartedEvent
from crewai.events.types.llm_events import LLMCallCompletedEvent, LLMCallType
from crewai.llms.base_llm import BaseLLM, llm_call_context
from crewai.tools import BaseTool, tool
from crewai.tools.agent_tools.ask_question_tool import AskQuestionTool
from crewai.tools.agent_tools.base_agent_tools import BaseAgentTool
from crewai.tools.agent_tools.delegate_work_tool import DelegateWorkTool
from crewai.tools.mcp_native_tool import MCPNativeTool
from crewai.tools.mcp_tool_wrapper import MCPToolWrapper
from crewai.tools.structured_tool import CrewStructuredTool
from crewai.tools.tool_failure import ToolFailure
from crewai.utilities.agent_utils import extract_tool_call_info
from crewai.utilities.string_utils import sanitize_tool_name
from crewsample.model import ScriptedModel
from typing_extensions import override

from crewstream_agents.journal import seam


def parameters(function: Callable[..., Any]) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


def test_the_release_is_one_that_the_replay_matrix_ran_against() -> None:
    assert crewai.__version__.startswith(seam.SUPPORTED_CREWAI)


def test_a_release_that_nobody_tried_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crewai, "__version__", "1.16.0")

    with pytest.raises(seam.SeamMoved, match=r"1\.16\.0"):
        seam.install()


def test_every_model_and_tool_class_is_wrapped_and_so_are_those_to_come() -> None:
    seam.install()
    before = seam.installed()

    class LaterModel(ScriptedModel):
        @override
        def call(self, messages: Any, tools: Any = None, *_: Any, **known: Any) -> Any:
            return super().call(messages, tools, **known)

    class LaterTool(BaseTool):
        name: str = "later"
        description: str = "d"

        @override
        def run(self, *args: Any, **kwargs: Any) -> Any:
            return super().run(*args, **kwargs)

        @override
        def _run(self) -> str:
            return "x"

    after = seam.installed()
    assert getattr(LaterModel.__dict__["call"], seam.WRAPPED)
    assert getattr(LaterTool.__dict__["run"], seam.WRAPPED)
    assert after["BaseLLM"] == before["BaseLLM"] + 1
    assert after["BaseTool"] == before["BaseTool"] + 1


def test_a_class_that_is_not_wrapped_is_named() -> None:
    class Unwrapped(ScriptedModel):
        pass

    def call(_: Any) -> str:
        return "not journaled"

    type.__setattr__(Unwrapped, "call", call)
    try:
        with pytest.raises(seam.SeamMoved, match=r"Unwrapped\.call"):
            seam.installed()
    finally:
        type.__delattr__(Unwrapped, "call")


def test_installing_twice_wraps_once() -> None:
    seam.install()
    wrapped = ScriptedModel.call
    seam.install()

    assert ScriptedModel.call is wrapped


def test_the_methods_that_are_wrapped_take_what_we_hand_on() -> None:
    asked = ["messages", "tools", "callbacks", "available_functions", "from_task", "from_agent"]
    assert parameters(inspect.unwrap(BaseLLM.call)) == [*asked, "response_model"]
    assert parameters(inspect.unwrap(BaseLLM.acall)) == [*asked, "response_model"]
    assert parameters(inspect.unwrap(CrewStructuredTool.invoke))[0] == "input"
    assert parameters(inspect.unwrap(CrewStructuredTool.ainvoke))[0] == "input"
    assert parameters(inspect.unwrap(BaseTool.run)) == ["args", "kwargs"]


def test_the_private_names_of_models_are_there() -> None:
    shared = {"messages", "tools", "from_task", "from_agent"}
    assert shared <= set(parameters(BaseLLM._emit_call_started_event))  # noqa: SLF001 - guarded here
    completed = set(parameters(BaseLLM._emit_call_completed_event))  # noqa: SLF001 - the same
    assert {"response", "call_type", "usage", "finish_reason", "response_id"} <= completed
    assert {"chunk", "from_task", "from_agent"} <= set(
        parameters(BaseLLM._emit_stream_chunk_event)  # noqa: SLF001 - the same
    )
    model = ScriptedModel(model="scripted/x", stream=True)
    assert model._effective_stream() is True  # noqa: SLF001 - the same
    model._track_token_usage_internal({"prompt_tokens": 3})  # noqa: SLF001 - the same
    assert model.get_token_usage_summary().prompt_tokens == 3
    with llm_call_context() as call_id:
        assert call_id


def test_the_fields_of_events_are_there() -> None:
    assert {"call_type", "usage", "finish_reason", "response_id"} <= set(
        LLMCallCompletedEvent.model_fields
    )
    assert CrewKickoffStartedEvent.model_fields["type"].default == "crew_kickoff_started"
    assert LLMCallType("llm_call") is LLMCallType.LLM_CALL
    reset_stream_sinks(add_stream_sink(lambda *_: None))
    assert get_current_task_id() is None


def test_a_tool_that_crewai_wraps_knows_the_one_inside() -> None:
    @tool("plain")
    def plain(sku: str) -> str:
        """Say it again."""
        return sku

    wrapped = plain.to_structured_tool()
    assert wrapped._original_tool is plain  # noqa: SLF001 - the name that `original` leans on
    assert plain.func("a") == "a"
    assert wrapped.format_output_for_agent({"a": 1})
    assert {"max_usage_count", "current_usage_count"} <= set(CrewStructuredTool.model_fields)


def test_delegation_is_known_by_its_base() -> None:
    assert issubclass(DelegateWorkTool, BaseAgentTool)
    assert issubclass(AskQuestionTool, BaseAgentTool)


def test_tools_of_mcp_servers_are_tools_like_others() -> None:
    assert issubclass(MCPNativeTool, BaseTool)
    assert issubclass(MCPToolWrapper, BaseTool)


def test_tool_calls_of_any_provider_can_be_read() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}

    assert extract_tool_call_info(call) == ("c", "f", "{}")
    assert sanitize_tool_name("Send Mail") == "send_mail"
    assert ToolFailure(message="no").as_agent_message() == "no"
