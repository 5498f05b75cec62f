"""What a crew asks people: answered from what they said before, else the run ends and waits."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from crewai.core.providers.human_input import HumanInputProvider, reset_provider, set_provider
from crewai.flow.flow_config import flow_config
from typing_extensions import override

from crewstream_agents.journal.replay import remember
from crewstream_agents.refusal import RunRefused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from crewai.agents.parser import AgentFinish
    from crewai.core.providers.human_input import AsyncExecutorContext, ExecutorContext

    from crewstream_agents.cancellation import StopFlag

INPUT_WANTED: Final = "human.input_wanted"

MOST_SHOWN: Final = 3_000
"""Characters of what a person is asked about that stand in the workflow's row."""


class Desk:
    """The answers of people to one run, in the order in which its questions were first asked.

    A run ends with its first question that has no answer; the next one, which has one more, goes on
    from the same journal. There the order is kept: tasks that run at once may ask in any order.
    """

    def __init__(self, answers: Sequence[str], flag: StopFlag) -> None:
        self._answers, self._flag = answers, flag
        self._asked: list[str] = []
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.draft = ""
        """What a person is to look at, in full."""

    def ask(self, who: str, whose: str, draft: str) -> str:
        """What a person says to a draft; empty: it is content. `who` asks at the place `whose`.

        Blocks. Raises HookAborted, and ends the run (`human.input_wanted`): nobody has answered.
        """
        with self._lock:
            self._flag.check()
            self._counts[whose] += 1
            number = self._number(f"{whose}#{self._counts[whose]}")
            if number < len(self._answers):
                return self._answers[number]
            self.draft = draft
            shown = draft if len(draft) <= MOST_SHOWN else f"{draft[:MOST_SHOWN]} …"
            self._flag.stop(RunRefused(INPUT_WANTED, f"{who} asks what you say to this:\n{shown}"))
            self._flag.check()
        raise AssertionError  # a flag that was raised raises

    def _number(self, question: str) -> int:
        """The place of a question among those that this run and earlier ones have asked."""
        if question in self._asked:
            return self._asked.index(question)
        while True:
            number = len(self._asked)
            self._asked.append(remember(f"human:{number}", lambda: question))
            if self._asked[number] == question:
                return number


_desk: ContextVar[Desk | None] = ContextVar("crewstream_desk", default=None)
"""Where the run that this code belongs to asks."""


class Reviews(HumanInputProvider):
    """CrewAI's `human_input`: an agent's answer is looked at, and mended until it is good."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    @override
    def setup_messages(self, context: ExecutorContext) -> bool:
        return False

    @override
    def post_setup_messages(self, context: ExecutorContext) -> None:
        pass

    @override
    def handle_feedback(
        self, formatted_answer: AgentFinish, context: ExecutorContext
    ) -> AgentFinish:
        answer = formatted_answer
        while (feedback := self._desk.ask(*_question(answer, context))).strip():
            context.messages.append(context._format_feedback_message(feedback))  # noqa: SLF001 - of CrewAI's protocol, as below
            answer = context._invoke_loop()  # noqa: SLF001
        context.ask_for_human_input = False
        return answer

    @override
    async def handle_feedback_async(
        self, formatted_answer: AgentFinish, context: AsyncExecutorContext
    ) -> AgentFinish:
        answer = formatted_answer
        while (feedback := await self._ask(answer, context)).strip():
            context.messages.append(context._format_feedback_message(feedback))  # noqa: SLF001
            answer = await context._ainvoke_loop()  # noqa: SLF001
        context.ask_for_human_input = False
        return answer

    async def _ask(self, answer: AgentFinish, context: ExecutorContext) -> str:
        return await asyncio.to_thread(self._desk.ask, *_question(answer, context))


class FlowReviews:
    """What flows ask: `@human_feedback` shows a method's output, `self.ask()` has a question."""

    def request_feedback(self, context: Any, flow: Any) -> str:  # noqa: ARG002 - CrewAI's signature
        """The answer to a step that waits for feedback. Raises HookAborted. Blocks."""
        shown = f"{context.message}\n\n{context.method_output}"
        return _here().ask(f"step {context.method_name}", f"flow:{context.method_name}", shown)

    def request_input(self, message: str, flow: Any, metadata: Any = None) -> str:  # noqa: ARG002 - the same
        """The answer to a question of a flow. Raises HookAborted. Blocks."""
        return _here().ask("the flow", f"ask:{message}", message)


@contextmanager
def at(desk: Desk) -> Iterator[None]:
    """What runs in here, in every thread and task that it starts, asks at this desk."""
    token, provider = _desk.set(desk), set_provider(Reviews(desk))
    try:
        yield
    finally:
        reset_provider(provider)
        _desk.reset(token)


def install() -> None:
    """Have flows ask at the desk of their run. Once per process: CrewAI has one place for it."""
    reviews = FlowReviews()
    flow_config.hitl_provider = reviews
    flow_config.input_provider = reviews


def _here() -> Desk:
    if (desk := _desk.get()) is None:
        raise RunRefused("crew.invalid", "a flow asks for feedback outside of a run")
    return desk


def _question(answer: AgentFinish, context: ExecutorContext) -> tuple[str, str, str]:
    """Who asks, at which place, about what."""
    tasks = context.crew.tasks if context.crew is not None else []
    number = next((n for n, each in enumerate(tasks) if each is context.task), 0)
    name = context.task.name if context.task is not None else ""
    output = answer.output
    shown = output if isinstance(output, str) else output.model_dump_json()
    return str(context.agent.role), f"{number}:{name}", shown
