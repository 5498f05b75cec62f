"""The lean loop and CrewAI's own do the same: outputs, messages and events."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from crewai import Agent, Crew, Process, Task
from crewai.agents.agent_executor import AgentExecutor
from crewai.events.event_bus import crewai_event_bus
from crewai.events.stream_context import add_stream_sink, reset_stream_sinks
from crewai.tools import BaseTool
from crewsample.model import Plan, ScriptedModel
from pydantic import BaseModel, Field
from typing_extensions import override

from crewstream_agents.executor import EXECUTOR_SETTING, LeanExecutor, choose

if TYPE_CHECKING:
    from collections.abc import Callable

# CrewAI reads its own deprecated fields.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Price(BaseTool):
    """A tool that answers."""

    name: str = "price"
    description: str = "p"

    @override
    def _run(self, sku: str) -> str:
        return f"{sku}=10"


class Final(BaseTool):
    """A tool whose result is the answer."""

    name: str = "final_tool"
    description: str = "f"
    result_as_answer: bool = True

    @override
    def _run(self, x: int) -> str:
        return f"FINAL {x}"


class Bad(BaseTool):
    """A tool that fails."""

    name: str = "bad"
    description: str = "b"

    @override
    def _run(self, x: int) -> str:
        raise ValueError("db down")


class Answer(BaseModel):
    """A structured answer."""

    a: int


class ThreeAtOnce(ScriptedModel):
    """Asks for three tool calls in one turn."""

    @override
    def decide(self, messages: list[Any], tools: Any, response_model: Any) -> Any:
        results = [m["content"] for m in messages if m["role"] == "tool"]
        if results:
            return "sum " + ",".join(results)
        calls = [{"name": "price", "arguments": json.dumps({"sku": f"S{i}"})} for i in range(3)]
        return [{"id": c["arguments"], "type": "function", "function": c} for c in calls]


class Unparsable(ScriptedModel):
    """Answers once with text that is neither an action nor an answer of the text protocol."""

    @override
    def decide(self, messages: list[Any], tools: Any, response_model: Any) -> Any:
        if len(messages) < 3:
            return "Thought: hm\nAction: price\nno input here"
        return "Thought: now\nFinal Answer: mended"


class NoNativeTools(ScriptedModel):
    """Says that it knows native tools; the provider disagrees, so the loop goes on in text."""

    @override
    def decide(self, messages: list[Any], tools: Any, response_model: Any) -> Any:
        if tools:
            raise ValueError("this model does not support tools")
        return super().decide(messages, tools, response_model)


class OverflowsOnce(ScriptedModel):
    """Its first call is too long for the context window."""

    calls: list[int] = Field(default_factory=list)

    @override
    def decide(self, messages: list[Any], tools: Any, response_model: Any) -> Any:
        self.calls.append(1)
        if len(self.calls) == 1:
            raise RuntimeError("maximum context length exceeded: context_length_exceeded")
        if len(self.calls) == 2:
            return "<summary>short</summary>"
        return "answer after overflow" if tools else "Final Answer: answer after overflow"


def steps(*calls: tuple[str, dict[str, Any]]) -> Plan:
    return lambda _, __: list(calls)


def model(cls: type[ScriptedModel] = ScriptedModel, **options: Any) -> ScriptedModel:
    return cls(model="scripted/x", **options)


def one(llm: ScriptedModel, task: dict[str, Any] | None = None, **agent: Any) -> Crew:
    worker = Agent(role="R", goal="g", backstory="b", llm=llm, **agent)
    todo = Task(description="d", expected_output="x", agent=worker, **(task or {}))
    return Crew(agents=[worker], tasks=[todo])


def hierarchical(*, native: bool) -> Crew:
    def delegate(_: str, tools: list[str]) -> list[tuple[str, dict[str, Any]]]:
        tool = next(name for name in tools if "delegate" in name)
        return [(tool, {"task": "t", "context": "c", "coworker": "R"})]

    worker = Agent(role="R", goal="g", backstory="b", llm=model(compose=lambda *_: "W"))
    boss = model(native=native, plan=delegate, compose=lambda _, results: f"M:{results[0]}")
    manager = Agent(role="M", goal="g", backstory="b", llm=boss, allow_delegation=True)
    return Crew(
        agents=[worker],
        tasks=[Task(description="d", expected_output="x")],
        process=Process.hierarchical,
        manager_agent=manager,
    )


def guarded() -> Crew:
    tries = itertools.count()
    return one(
        model(),
        # A lambda: CrewAI refuses annotations that are strings.
        task={"guardrail": lambda o: (True, f"G:{o.raw}") if next(tries) else (False, "again")},
    )


def failing(*_: Any) -> str:
    raise ZeroDivisionError("model")


SCENARIOS: dict[str, Callable[[], Crew]] = {
    "no tools": lambda: one(model()),
    "parallel calls": lambda: one(model(ThreeAtOnce), tools=[Price()]),
    "guardrail": guarded,
    "model error, tried again": lambda: one(model(compose=failing), max_retry_limit=1),
    "pydantic, no tools": lambda: one(
        model(compose=lambda *_: '{"a":5}'), task={"output_pydantic": Answer}
    ),
    "bad pydantic": lambda: one(
        model(compose=lambda *_: "zzz"), task={"output_pydantic": Answer}, max_retry_limit=0
    ),
    "unparsable text": lambda: one(model(Unparsable, native=False), tools=[Price()]),
    "native tools refused": lambda: one(
        model(NoNativeTools, plan=steps(("price", {"sku": "A"}))), tools=[Price()]
    ),
    "context overflow with native tools": lambda: one(model(OverflowsOnce), tools=[Price()]),
}


def _both_protocols(*, native: bool) -> dict[str, Callable[[], Crew]]:
    def llm(*calls: tuple[str, dict[str, Any]], **options: Any) -> ScriptedModel:
        return model(native=native, plan=steps(*calls), **options)

    bad = ("bad", {"x": 3})
    prices = [("price", {"sku": f"K{i}"}) for i in range(50)]
    forced = model(
        native=native,
        plan=lambda _, tools: prices if tools else [],
        compose=lambda *_: "forced",
    )
    return {
        "tools": lambda: one(llm(*prices[:2]), tools=[Price()]),
        "result_as_answer": lambda: one(llm(("final_tool", {"x": 3})), tools=[Final()]),
        "tool error": lambda: one(llm(bad, compose=lambda _, r: f"c:{r}"), tools=[Bad()]),
        "tool raises": lambda: one(llm(bad), tools=[Bad()], tool_failure_policy="raise"),
        "unknown tool": lambda: one(
            llm(("nope", {"x": 3}), compose=lambda _, r: f"u:{str(r)[:40]}"), tools=[Bad()]
        ),
        "max_iter": lambda: one(forced, tools=[Price()], max_iter=3),
        "pydantic": lambda: one(
            llm(prices[0], compose=lambda *_: '{"a":5}'),
            tools=[Price()],
            task={"output_pydantic": Answer},
        ),
        "hierarchical": lambda: hierarchical(native=native),
    }


for _native in (True, False):
    for _name, _build in _both_protocols(native=_native).items():
        SCENARIOS[f"{_name}, {'native' if _native else 'text'}"] = _build


@dataclass(frozen=True, slots=True)
class Seen:
    """What of a run others can see."""

    outcome: object
    roles: list[str]
    events: Counter[str]


def observe(crew: Crew, *, native_async: bool) -> Seen:
    events: list[str] = []
    token = add_stream_sink(lambda _, event: events.append(event.type))
    roles: list[str] = []
    outcome: object
    try:
        result: Any = asyncio.run(crew.akickoff()) if native_async else crew.kickoff()
        outcome = (result.raw, repr(result.pydantic))
        roles = [message["role"] for message in result.tasks_output[0].messages]
    except Exception as error:  # noqa: BLE001 - how a run fails is part of what is compared
        outcome = (type(error).__name__, str(error)[:80])
    finally:
        reset_stream_sinks(token)
        crewai_event_bus.flush()
    # The environment is announced once per process, by whichever run comes first.
    seen = Counter(e for e in events if not e.startswith("flow_") and not e.endswith("_env"))
    return Seen(outcome, roles, seen)


def lean(crew: Crew) -> Crew:
    manager = [crew.manager_agent] if crew.manager_agent else []
    choose([*crew.agents, *manager], {})
    assert all(getattr(a, "executor_class", None) is LeanExecutor for a in crew.agents)
    return crew


@pytest.mark.parametrize("native_async", [False, True], ids=["kickoff", "akickoff"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_does_what_the_stock_loop_does(name: str, *, native_async: bool) -> None:
    build = SCENARIOS[name]

    assert observe(lean(build()), native_async=native_async) == observe(
        build(), native_async=native_async
    )


@pytest.mark.parametrize("native_async", [False, True], ids=["kickoff", "akickoff"])
def test_recovers_from_an_overflow_that_the_stock_loop_turns_into_a_wrong_answer(
    *, native_async: bool
) -> None:
    crew = one(model(OverflowsOnce))

    seen = observe(lean(crew), native_async=native_async)

    assert seen.outcome == ("answer after overflow", "None")


def test_a_planning_agent_keeps_the_stock_loop() -> None:
    planner = Agent(role="R", goal="g", backstory="b", llm=model(), planning=True)

    choose([planner], {})

    assert planner.executor_class is AgentExecutor


def test_the_setting_keeps_the_stock_loop() -> None:
    agent = Agent(role="R", goal="g", backstory="b", llm=model())

    choose([agent], {EXECUTOR_SETTING: "stock"})

    assert agent.executor_class is AgentExecutor


def test_another_release_of_crewai_keeps_the_stock_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = Agent(role="R", goal="g", backstory="b", llm=model())
    monkeypatch.setattr("crewai.__version__", "1.16.0")

    choose([agent], {})

    assert agent.executor_class is AgentExecutor


async def test_a_model_without_acall_is_called_in_a_thread() -> None:
    class SyncOnly(ScriptedModel):
        @override
        async def acall(self, *_: Any, **__: Any) -> Any:
            raise AssertionError("not implemented by this model")

    SyncOnly.acall = ScriptedModel.__mro__[1].acall  # type: ignore[attr-defined,method-assign]

    result: Any = await lean(one(model(SyncOnly))).akickoff()

    assert result.raw == "done"


async def test_cancelling_reaches_the_model_call() -> None:
    crew = lean(one(model(latency_s=30.0)))

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(crew.akickoff(), 0.2)


@pytest.mark.parametrize(
    "name",
    [
        "_create_initial_state",  # replaced, to spare one pydantic class a run
        "_openai_tools",  # the native tool schemas that _setup_native_tools left
        "_invoke_step_callback",
        "_append_message_to_state",
        "_downgrade_to_text_tool_calling",
    ],
)
def test_the_private_names_that_the_lean_loop_leans_on_are_there(name: str) -> None:
    crew = lean(one(model(plan=steps(("price", {"sku": "A"}))), tools=[Price()]))
    crew.kickoff()

    assert hasattr(crew.agents[0].agent_executor, name)
