"""CrewAI's agent loop without the Flow engine; version-gated, held equal to stock."""

from __future__ import annotations

import asyncio
import logging
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final

import crewai
from crewai import Agent, BaseLLM
from crewai.agents.agent_executor import AgentExecutor, AgentExecutorState
from crewai.agents.parser import AgentFinish, OutputParserError
from crewai.utilities.agent_utils import (
    _prepare_llm_call,
    _proactively_summarize_context,
    _validate_and_finalize_llm_response,
    enforce_rpm_limit,
    handle_unknown_error,
    is_context_length_exceeded,
    is_native_tool_calling_unsupported_error,
    is_tool_call_list,
    process_llm_response,
)
from crewai_core.printer import PRINTER
from pydantic import BaseModel, Field, PrivateAttr
from rich.console import Console
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from crewai.agents.agent_builder.base_agent import BaseAgent

logger = logging.getLogger(__name__)

EXECUTOR_SETTING: Final = "CREWSTREAM_EXECUTOR"
"""`lean` (default) or `stock`: which loop the agents of a crew run in."""

SUPPORTED_CREWAI: Final = "1.15."
"""The releases that the comparison test ran against; any other one gets the stock loop."""

ROOM_TOKENS: Final = 64
"""For each message, and for the tools as a whole."""


def choose(agents: Iterable[BaseAgent], environ: Mapping[str, str]) -> None:
    """Give the lean loop to each agent that can use it; the others keep what they have.

    An agent that plans needs the Flow engine, and an executor of the user's own stays.
    """
    if environ.get(EXECUTOR_SETTING, "lean") != "lean" or not _compared(crewai.__version__):
        return
    for agent in agents:
        if not isinstance(agent, Agent) or agent.planning_enabled:
            continue
        if agent.executor_class is AgentExecutor:
            agent.executor_class = LeanExecutor


@cache
def _compared(release: str) -> bool:
    """Whether our loop was compared with this release's; says so once if not."""
    if release.startswith(SUPPORTED_CREWAI):
        return True
    logger.warning(
        "crewai %s is not %sx, which the lean loop was compared with: agents run in CrewAI's own"
        " loop",
        release,
        SUPPORTED_CREWAI,
    )
    return False


def _plain(name: str) -> Callable[[AgentExecutor], Any]:
    """A step of `AgentExecutor` as a function: bound by the Flow engine, it is inspected anew."""
    step: Callable[[AgentExecutor], Any] = getattr(AgentExecutor, name).unwrap()
    return step


_initialize = _plain("initialize_reasoning")
_next_step = _plain("check_max_iterations")
_finalize = _plain("finalize")


class LeanExecutor(AgentExecutor):
    """The steps of `AgentExecutor`, called one after the other; the model call is awaited.

    Stock builds a pydantic class and drives a Flow for each agent run, 4/5 of a run's CPU time, and
    calls the model in a thread, which no cancellation reaches.
    """

    # CrewAI made and validated these; with their own types here, each executor would do so again.
    llm: Any = Field(default=None, exclude=True)
    agent: Any = Field(default=None, exclude=True)
    crew: Any = Field(default=None, exclude=True)
    task: Any = Field(default=None, exclude=True)

    # A terminal is looked for whenever a console is made.
    _console: Console = PrivateAttr(default_factory=cache(Console))

    @override
    def _create_initial_state(self) -> AgentExecutorState:
        # Flow would build a new pydantic class here, which _setup_executor throws away at once.
        return AgentExecutorState()

    @override
    def _flow_post_init(self, definition: Any = None) -> None:
        """Nothing: it binds each step for a Flow engine that is not used here."""

    @override
    def kickoff(self, *_: Any, **__: Any) -> Any:
        _initialize(self)
        while not self._turn():
            pass
        _finalize(self)
        return self.state.current_answer

    @override
    async def kickoff_async(self, *_: Any, **__: Any) -> Any:
        _initialize(self)
        awaitable = _answers_async(self.llm)
        while not (await self._aturn() if awaitable else await asyncio.to_thread(self._turn)):
            pass
        _finalize(self)
        return self.state.current_answer

    def _turn(self) -> bool:
        """One model call and what follows from it; True when the answer is final."""
        route = _next_step(self)
        if route == "force_final_answer":
            self.ensure_force_final_answer()
            return True
        if route == "continue_reasoning_native":
            return self._follow(self.call_llm_native_tools())
        return self._follow(self.call_llm_and_parse())

    async def _aturn(self) -> bool:
        route = _next_step(self)
        if route == "force_final_answer":
            await asyncio.to_thread(self.ensure_force_final_answer)
            return True
        outcome = await self._ask(native=route == "continue_reasoning_native")
        if outcome == "native_finished" or self._answered(outcome):
            return True
        # Tools and the summarising of a long context are synchronous code of others.
        return await asyncio.to_thread(self._follow, outcome)

    def _follow(self, outcome: str) -> bool:
        """Do what the model's answer asks for; True when the answer is final."""
        if outcome == "parser_error":
            self.recover_from_parser_error()
        elif outcome == "context_error":
            self.recover_from_context_length()
        elif outcome == "native_tool_calls":
            return self._after_tool(self.execute_native_tool())
        elif outcome == "parsed" and not self._answered(outcome):
            return self._after_tool(self.execute_tool_action())
        # What is left is "continue_reasoning": the model knows no native tools, ask again in text.
        return outcome == "native_finished" or self._answered(outcome)

    def _after_tool(self, outcome: str) -> bool:
        if outcome == "tool_result_is_final":
            return True
        self.state.iterations += 1
        return False

    def _answered(self, outcome: str) -> bool:
        return outcome == "parsed" and isinstance(self.state.current_answer, AgentFinish)

    async def _ask(self, *, native: bool) -> str:
        """`call_llm_native_tools` and `call_llm_and_parse`, with the model call awaited."""
        self.state.pending_tool_calls.clear()
        try:
            answer = await self._model_call(native=native)
            return self._take_native(answer) if native else self._take_text(answer)
        except Exception as error:  # noqa: BLE001 - what is not recoverable is raised again inside
            return self._recover(error, native=native)

    async def _model_call(self, *, native: bool) -> Any:
        if self.request_within_rpm_limit:
            await asyncio.to_thread(enforce_rpm_limit, self.request_within_rpm_limit)
        structured = None if native or self.original_tools else self.response_model
        tools = self._openai_tools if native else None
        verbose = getattr(self.agent, "verbose", False)
        whose: dict[str, Any] = {"from_task": self.task, "from_agent": self.agent}
        with _prepare_llm_call(self, [*self.state.messages], PRINTER, verbose=verbose) as messages:
            asked: dict[str, Any] = {
                "callbacks": self.callbacks,
                "tools": tools,
                "response_model": structured,
            }
            if self.respect_context_window and not fits(self.llm, messages, tools, structured):
                counted = partial(_proactively_summarize_context, self.llm, messages, **asked)
                await asyncio.to_thread(counted, printer=PRINTER, verbose=verbose, **whose)
            answer = await self.llm.acall(messages, available_functions=None, **asked, **whose)
        return _validate_and_finalize_llm_response(answer, self, PRINTER, verbose=verbose)

    def _take_native(self, answer: Any) -> str:
        if isinstance(answer, list) and answer and is_tool_call_list(answer):
            self.state.pending_tool_calls = list(answer)
            return "native_tool_calls"
        text = answer.model_dump_json() if isinstance(answer, BaseModel) else str(answer)
        output = answer if isinstance(answer, BaseModel) else text
        self.state.current_answer = AgentFinish(thought="", output=output, text=text)
        self._invoke_step_callback(self.state.current_answer)
        self._append_message_to_state(text)
        return "native_finished"

    def _take_text(self, answer: Any) -> str:
        if isinstance(answer, BaseModel):
            finish = AgentFinish(thought="", output=answer, text=str(answer))
            self.state.current_answer = finish
        else:
            self.state.current_answer = process_llm_response(answer, self.use_stop_words)
        return "parsed"

    def _recover(self, error: Exception, *, native: bool) -> str:
        """The route that mends this error, or the error again."""
        if isinstance(error, OutputParserError) and not native:
            self._last_parser_error = error
            return "parser_error"
        if native and is_native_tool_calling_unsupported_error(error):
            self._downgrade_to_text_tool_calling()
            return "continue_reasoning"
        if is_context_length_exceeded(error):
            self._last_context_error = error
            return "context_error"
        if not type(error).__module__.startswith("litellm"):
            handle_unknown_error(PRINTER, error, verbose=getattr(self.agent, "verbose", False))
        raise error


def fits(llm: Any, messages: Sequence[Mapping[str, Any]], tools: Any, response_model: Any) -> bool:
    """Whether a request is certainly shorter than the model's window; else it has to be counted.

    CrewAI counts before every call, in a thread, and providers count over HTTP. No tokenizer makes
    more tokens of a text than it has bytes; `ROOM_TOKENS` are for what a provider puts around it.
    """
    told = [message.get("content") or "" for message in messages]
    if response_model is not None or not all(isinstance(text, str) for text in told):
        return False
    if any(message.get("files") for message in messages):
        return False
    try:
        limit = llm.get_context_window_size()
    except Exception:  # noqa: BLE001 - a model of the user's own: CrewAI goes on without a count
        return False
    calls = [message["tool_calls"] for message in messages if message.get("tool_calls")]
    most = sum(map(_bytes, told)) + _bytes(str(calls)) + _bytes(str(tools or ""))
    return bool(most + ROOM_TOKENS * (len(messages) + 1) < limit)


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def _answers_async(llm: object) -> bool:
    """Whether a model implements `acall`: a user's own BaseLLM need not."""
    return not isinstance(llm, BaseLLM) or type(llm).acall is not BaseLLM.acall
