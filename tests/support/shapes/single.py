"""Shapes of one agent with one task: tools, outputs, guardrails, limits, errors, settings."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from crewai.agents.agent_executor import AgentExecutor
from crewai.agents.parser import AgentFinish
from pydantic import BaseModel
from typing_extensions import override

from support.shapes import models, tools
from support.shapes.log import Log
from support.shapes.models import Model, steps
from support.shapes.shape import Build, Shape, agent, one


class Answer(BaseModel):
    """A structured answer."""

    a: int


class OwnExecutor(AgentExecutor):
    """What a user might write: asks the model once, whatever it says."""

    @override
    def kickoff(self, *_: Any, **__: Any) -> Any:
        text = str(self.llm.call(self.state.messages)) if self.llm else ""
        self.state.current_answer = AgentFinish(thought="", output=f"own: {text}", text=text)

    @override
    async def kickoff_async(self, *_: Any, **__: Any) -> Any:
        self.kickoff()


def shapes() -> Iterator[tuple[str, Shape]]:
    """All of them, by name."""
    for native in (True, False):
        protocol = "native" if native else "text"
        for name, shape in _of_a_protocol(native=native).items():
            yield f"{name}, {protocol}", shape
    yield from _tools().items()
    yield from _outputs().items()
    yield from _guardrails().items()
    yield from _troubles().items()
    yield from _settings().items()


def _of_a_protocol(*, native: bool) -> dict[str, Shape]:
    bad, final = ("bad", {"x": 3}), ("final_tool", {"x": 3})
    price, stock = ("price", {"sku": "A-17"}), ("stock", {"sku": "B"})
    last: dict[str, Any] = {"compose": lambda _, results: f"seen: {[r[:60] for r in results]}"}

    def using(tool: Any, *calls: tuple[str, dict[str, Any]], **options: Any) -> Shape:
        def build(log: Log) -> Any:
            llm = Model(model="scripted/x", log=log, native=native, plan=steps(*calls), **last)
            return one(agent(llm, tools=[tool(log=log), tools.Stock(log=log)], **options))

        return Shape(build)

    many = [("price", {"sku": f"K{i}"}) for i in range(50)]

    def forced(log: Log) -> Any:
        llm = Model(
            model="scripted/x",
            log=log,
            native=native,
            plan=lambda _, offered: many if offered else [],
            compose=lambda *_: "forced",
        )
        return one(agent(llm, tools=[tools.Price(log=log)], max_iter=3))

    def structured(log: Log) -> Any:
        options: Any = {"native": native, "plan": steps(price), "compose": lambda *_: '{"a":5}'}
        llm = Model(model="scripted/x", log=log, **options)
        return one(agent(llm, tools=[tools.Price(log=log)]), output_pydantic=Answer)

    def cached(log: Log) -> Any:
        llm = Model(model="scripted/x", log=log, native=native, plan=steps(price, price), **last)
        return one(agent(llm, tools=[tools.Price(log=log)]), crew={"cache": True})

    def limited(log: Log) -> Any:
        llm = Model(model="scripted/x", log=log, native=native, plan=steps(price, stock, price))
        once = tools.Price(log=log, max_usage_count=1)
        return one(agent(llm, tools=[once, tools.Stock(log=log)]))

    return {
        "two tools": using(tools.Price, price, stock),
        "result_as_answer": using(tools.Final, final),
        "tool raises": using(tools.Bad, bad),
        "tool raises, policy raise": using(tools.Bad, bad, tool_failure_policy="raise"),
        "tool raises, policy ignore": using(tools.Bad, bad, tool_failure_policy="ignore"),
        "tool says that it failed": using(tools.Unwell, ("unwell", {"x": 1})),
        "tool says that it failed, policy raise": using(
            tools.Unwell, ("unwell", {"x": 1}), tool_failure_policy="raise"
        ),
        "unknown tool": using(tools.Price, ("nope", {"x": 3})),
        "arguments missing": using(tools.Price, ("price", {})),
        "the same call over and over": using(tools.Price, *[price] * 6),
        "a tool that is a coroutine": using(tools.Awaited, ("awaited", {"x": 1})),
        "max_iter reached": Shape(forced),
        "output_pydantic with tools": Shape(structured),
        "cache": Shape(cached),
        "max_usage_count reached": Shape(limited),
    }


def _tools() -> dict[str, Shape]:
    def at_once(*calls: tuple[str, dict[str, Any]]) -> Shape:
        def build(log: Log) -> Any:
            llm = models.AtOnce(model="scripted/x", log=log, calls=calls)
            offered = [t(log=log) for t in (tools.Price, tools.Bad, tools.Final)]
            return one(agent(llm, tools=offered))

        return Shape(build, at_once=True)

    prices = [("price", {"sku": f"S{i}"}) for i in range(3)]
    return {
        "three tool calls at once": at_once(*prices),
        "calls at once, one fails": at_once(prices[0], ("bad", {"x": 1})),
        "calls at once, one is the answer": at_once(prices[0], ("final_tool", {"x": 2})),
        "arguments that are no JSON": Shape(_with(models.Garbled, tools.Price)),
        "native tools refused": Shape(
            _with(models.NoNativeTools, tools.Price, plan=steps(("price", {"sku": "A"})))
        ),
        "unparsable text": Shape(_with(models.Unparsable, tools.Price, native=False)),
        "a result too long for the window": Shape(
            _with(Model, tools.Long, plan=steps(("long", {"x": 1})), window_tokens=8_000)
        ),
        "a conversation too long for the window": Shape(
            _with(models.Wordy, tools.Long, window_tokens=9_000)
        ),
    }


def _outputs() -> dict[str, Shape]:
    five: dict[str, Any] = {"compose": lambda *_: '{"a":5}'}
    nothing: dict[str, Any] = {"compose": lambda *_: "zzz"}
    return {
        "no tools": Shape(_with(Model)),
        "output_pydantic": Shape(_with(Model, task={"output_pydantic": Answer}, **five)),
        "output_json": Shape(_with(Model, task={"output_json": Answer}, **five)),
        "response_model": Shape(_with(Model, task={"response_model": Answer}, **five)),
        "output_pydantic that does not fit": Shape(
            _with(Model, task={"output_pydantic": Answer}, agent={"max_retry_limit": 0}, **nothing)
        ),
        "output_json that is converted": Shape(
            _with(Model, tools.Price, task={"output_json": Answer}, **nothing)
        ),
        "markdown": Shape(_with(Model, task={"markdown": True})),
    }


def _guardrails() -> dict[str, Shape]:
    def guarded(*verdicts: Any, **options: Any) -> Shape:
        def build(log: Log) -> Any:
            tries = itertools.chain(verdicts, itertools.repeat(verdicts[-1]))

            # Without annotations: CrewAI refuses those that are strings.
            def guardrail(output):  # type: ignore[no-untyped-def]
                log.call("guardrail", output.raw)
                return next(tries)

            return one(agent(Model(model="scripted/x", log=log)), guardrail=guardrail, **options)

        return Shape(build)

    def several(log: Log) -> Any:
        def first(output):  # type: ignore[no-untyped-def]
            return (True, f"1:{output.raw}")

        def second(output):  # type: ignore[no-untyped-def]
            return (True, f"2:{output.raw}")

        return one(agent(Model(model="scripted/x", log=log)), guardrails=[first, second])

    def judge(text: str, _: list[str]) -> str:
        asked = "guardrail" in text.lower()
        return '{"valid": true, "feedback": null}' if asked else "polite words"

    return {
        "guardrail": guarded((True, "as it should be")),
        "guardrail, second try": guarded((False, "again"), (True, "mended")),
        "guardrail, tries used up": guarded((False, "never"), guardrail_max_retries=1),
        "guardrails": Shape(several),
        "guardrail in words": Shape(_with(Model, task={"guardrail": "be polite"}, compose=judge)),
    }


def _troubles() -> dict[str, Shape]:
    def fails(*_: Any) -> str:
        raise ZeroDivisionError("model")

    return {
        "model fails once": Shape(_with(models.FailsOnce)),
        "model fails for good": Shape(_with(Model, compose=fails, agent={"max_retry_limit": 1})),
        "model says nothing once": Shape(_with(models.Silent)),
        "overflow with native tools": Shape(_with(models.OverflowsOnce, tools.Price)),
        "overflow, context window not respected": Shape(
            _with(models.OverflowsOnce, tools.Price, agent={"respect_context_window": False})
        ),
        "max_execution_time, not reached": Shape(_with(Model, agent={"max_execution_time": 60})),
        "an input is missing": Shape(_with(Model, task={"text": "about {topic}"}), inputs={"a": 1}),
    }


def _settings() -> dict[str, Shape]:
    templates = {
        "system_template": "<s>{{ .System }}</s>",
        "prompt_template": "<u>{{ .Prompt }}</u>",
        "response_template": "<a>{{ .Response }}</a>",
    }
    text = {"native": False, "plan": steps(("price", {"sku": "A"}))}
    return {
        "inputs": Shape(_with(Model, task={"text": "about {topic}"}), inputs={"topic": "lamps"}),
        "templates of its own": Shape(_with(Model, tools.Price, agent=templates, **text)),
        "no system prompt": Shape(_with(Model, agent={"use_system_prompt": False})),
        "inject_date": Shape(_with(Model, agent={"inject_date": True})),
        "multimodal": Shape(_with(Model, agent={"multimodal": True})),
        "stop words": Shape(_with(Model, tools.Price, **text, stop=["HALT"])),
        "streaming": Shape(_with(models.Streaming, stream=True)),
        "max_rpm": Shape(_with(Model, agent={"max_rpm": 100})),
        "callbacks": Shape(_with_callbacks),
        "planning agent": Shape(_with(Model, agent={"planning": True}), lean=False),
        "reasoning agent": Shape(
            _with(Model, agent={"reasoning": True, "max_reasoning_attempts": 1}), lean=False
        ),
        "an executor of its own": Shape(
            _with(Model, agent={"executor_class": OwnExecutor}), lean=False
        ),
    }


def _with(kind: type[Model], *kinds: Any, **options: Any) -> Build:
    """A crew of one on this model; `agent` and `task` are options of those."""
    of_agent, of_task = options.pop("agent", {}), options.pop("task", {})

    def build(log: Log) -> Any:
        llm = kind(model="scripted/x", log=log, **options)
        return one(agent(llm, tools=[tool(log=log) for tool in kinds], **of_agent), **of_task)

    return build


def _with_callbacks(log: Log) -> Any:
    llm = Model(model="scripted/x", log=log, plan=steps(("price", {"sku": "A"})))

    def before(inputs: Any) -> Any:
        log.call("before", inputs)
        return {**inputs, "added": "x"}

    def after(result: Any) -> Any:
        log.call("after", result.raw)
        return result

    crew = {
        "step_callback": lambda step: log.call("step", type(step).__name__),
        "task_callback": lambda output: log.call("task", output.raw),
        "before_kickoff_callbacks": [before],
        "after_kickoff_callbacks": [after],
    }
    own = {"callback": lambda output: log.call("own", output.raw), "text": "say {added}"}
    return one(agent(llm, tools=[tools.Price(log=log)]), crew=crew, **own)
