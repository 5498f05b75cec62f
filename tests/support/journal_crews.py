"""Crews of every shape that a journal must replay, on models and tools that count their calls.

What a model says has a number that grows with every call in the process, so a call that is made
again where it should have been answered from the journal changes the result.
"""

from __future__ import annotations

import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from crewai import LLM, Agent, Crew, Process, Task
from crewai.tools import BaseTool
from crewsample.model import ScriptedModel
from pydantic import BaseModel
from typing_extensions import override

made: Counter[str] = Counter()
"""Calls that really happened: `llm`, `tool`."""

_serial = itertools.count(1)


class Post(BaseModel):
    """A structured output."""

    title: str
    number: int


class Counting(ScriptedModel):
    """A user's own model class."""

    @override
    def decide(self, messages: list[Any], tools: Any, response_model: Any) -> Any:
        made["llm"] += 1
        return super().decide(messages, tools, response_model)


class Price(BaseTool):
    """A tool as most are."""

    name: str = "price"
    description: str = "list price of a sku"

    @override
    def _run(self, sku: str) -> str:
        made["tool"] += 1
        return f"{sku} costs {next(_serial)}"


class Uneven(Price):
    """One that takes a while, never the same: calls at once end in any order."""

    @override
    def _run(self, sku: str) -> str:
        time.sleep(random.uniform(0, 0.02))
        return super()._run(sku)


class Stock(BaseTool):
    """One that returns an object."""

    name: str = "stock"
    description: str = "stock of a sku"

    @override
    def _run(self, sku: str) -> dict[str, Any]:
        made["tool"] += 1
        return {"sku": sku, "left": next(_serial)}


class Broken(BaseTool):
    """One that raises."""

    name: str = "broken"
    description: str = "raises"

    @override
    def _run(self, sku: str) -> str:
        made["tool"] += 1
        raise ValueError(f"no {sku}, error {next(_serial)}")


class Asking(BaseTool):
    """One that asks a model by itself."""

    name: str = "asking"
    description: str = "asks a model"

    @override
    def _run(self, sku: str) -> str:
        made["tool"] += 1
        return str(model().call(f"inner question about {sku}"))


class Several(Counting):
    """Asks for three tool calls at once, two of them alike."""

    @override
    def decide(self, messages: list[Any], tools: Any, response_model: Any) -> Any:
        made["llm"] += 1
        if any(message["role"] == "tool" for message in messages):
            return f"sum {next(_serial)}"
        return [
            {"id": f"c{i}", "type": "function", "function": {"name": "price", "arguments": a}}
            for i, a in enumerate(['{"sku": "A"}', '{"sku": "A"}', '{"sku": "B"}'])
        ]


class _Function(BaseModel):
    name: str
    args: dict[str, Any]


class _Part(BaseModel):
    function_call: _Function | None = None


class WithoutIds(Counting):
    """Tool calls as Gemini's client brings them: CrewAI makes ids from memory addresses."""

    @override
    def decide(self, messages: list[Any], tools: Any, response_model: Any) -> Any:
        made["llm"] += 1
        done = sum(message["role"] == "tool" for message in messages)
        if done < 2:
            return [_Part(function_call=_Function(name="price", args={"sku": f"G{done}"}))]
        return f"done {next(_serial)}"

    @override
    def _answer(self, messages: Any, tools: Any, **known: Any) -> Any:
        # A model of a user's own need not tell CrewAI's events anything.
        return self.decide(self._format_messages(messages), tools, None)


def say(_: str, results: list[str]) -> str:
    return f"said {next(_serial)} after {len(results)}"


def model(*steps: tuple[str, str], native: bool = True, **known: Any) -> Counting:
    """A model that calls these (tool, sku) one after the other, and then speaks."""
    plan = [(tool, {"sku": sku}) for tool, sku in steps]
    return Counting(
        model="scripted/x", native=native, plan=lambda *_: plan, **{"compose": say, **known}
    )


def agent(llm: Any, *tools: BaseTool, role: str = "Clerk", **known: Any) -> Agent:
    return Agent(
        role=role, goal="g", backstory="b", llm=llm, tools=list(tools), max_retry_limit=0, **known
    )


def one(who: Agent, crew: Mapping[str, Any] | None = None, **task: Any) -> Crew:
    asked = Task(description="quote A", expected_output="a price", agent=who, **task)
    return Crew(agents=[who], tasks=[asked], **(crew or {}))


def _in_parallel() -> Crew:
    same = [agent(model(), role="Same") for _ in range(3)]
    asked = [
        Task(description="same", expected_output="x", agent=who, async_execution=True)
        for who in same
    ]
    join = agent(model(("price", "J")), Price(), role="Join")
    last = Task(description="join", expected_output="x", agent=join, context=asked)
    return Crew(agents=[*same, join], tasks=[*asked, last])


def _hierarchical(*, native: bool) -> Crew:
    def plan(_: str, tools: list[str]) -> list[tuple[str, dict[str, Any]]]:
        if "delegate_work_to_coworker" not in tools:
            return []
        return [("delegate_work_to_coworker", {"coworker": "Writer", "task": "t", "context": "c"})]

    staff: list[Any] = [agent(model(native=native), role=role) for role in ("Writer", "Reader")]
    manager = Counting(model="scripted/manager", native=native, plan=plan, compose=say)
    tasks = [Task(description=name, expected_output="x") for name in ("prepare", "finish")]
    return Crew(agents=staff, tasks=tasks, process=Process.hierarchical, manager_llm=manager)


def _guarded() -> Crew:
    tries = itertools.count()

    def guard(output):  # type: ignore[no-untyped-def] # CrewAI refuses annotations that are text
        return (True, output.raw) if next(tries) else (False, "say it again")

    return one(agent(model()), guardrail=guard)


def _structured(_: str, __: list[str]) -> str:
    return json.dumps({"title": "t", "number": next(_serial)})


def _planned() -> Crew:
    plans = Counting(
        model="scripted/plans",
        compose=lambda *_: json.dumps(
            {
                "list_of_plans_per_task": [
                    {"task_number": 1, "task": "quote A", "plan": f"plan {next(_serial)}"}
                ]
            }
        ),
    )
    who = agent(model(("price", "A")), Price())
    return one(who, {"planning": True, "planning_llm": plans})


def _two_tasks() -> Crew:
    first, second = agent(model(("price", "A")), Price()), agent(model(("stock", "A")), Stock())
    tasks = [
        Task(description=name, expected_output="x", agent=who)
        for name, who in (("one", first), ("two", second))
    ]
    return Crew(agents=[first, second], tasks=tasks)


def by_name(base_url: str) -> Crew:
    """A crew whose model is a string, as most are declared; `base_url` is where it is served."""
    llm = LLM(model="openai/gpt-4o-mini", base_url=base_url, api_key="x", max_retries=0)
    return one(agent(llm, Price(), Stock()))


def by_name_structured(base_url: str) -> Crew:
    llm = LLM(model="openai/gpt-4o-mini", base_url=base_url, api_key="x", max_retries=0)
    return one(agent(llm), output_pydantic=Post)


PRICED = (("price", "A"), ("price", "A"), ("stock", "B"))

SHAPES: Mapping[str, Callable[[], Crew]] = {
    "native tools": lambda: one(agent(model(*PRICED), Price(), Stock())),
    "ReAct": lambda: one(
        agent(model(("price", "A"), ("stock", "B"), native=False), Price(), Stock())
    ),
    "tool calls at once, two alike": lambda: one(agent(Several(model="scripted/x"), Price())),
    "tool calls at once, in any order": lambda: one(agent(Several(model="scripted/x"), Uneven())),
    "a call that the cache answers": lambda: one(
        agent(model(("price", "A"), ("price", "A"), ("price", "B")), Price())
    ),
    "tool calls without ids": lambda: one(agent(WithoutIds(model="scripted/x"), Price())),
    "async tasks, alike, and a join": _in_parallel,
    "hierarchical, native": lambda: _hierarchical(native=True),
    "hierarchical, ReAct": lambda: _hierarchical(native=False),
    "guardrail with a retry": _guarded,
    "structured, no tools": lambda: one(agent(model(compose=_structured)), output_pydantic=Post),
    "structured, tools": lambda: one(
        agent(model(("price", "A"), compose=_structured), Price()), output_pydantic=Post
    ),
    "a tool raises, native": lambda: one(
        agent(model(("broken", "A"), ("price", "B")), Broken(), Price())
    ),
    "a tool raises, ReAct": lambda: one(
        agent(model(("broken", "A"), ("price", "B"), native=False), Broken(), Price())
    ),
    "a tool asks a model": lambda: one(agent(model(("asking", "A")), Asking())),
    "two tasks with context": _two_tasks,
    "the date in the prompt": lambda: one(agent(model(("price", "A")), Price(), inject_date=True)),
    "planning": _planned,
}
