"""How often a model is really asked when its server has a bad day, whoever would try again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from crewai import LLM, Agent, Crew, Process, Task
from crewai.tools import tool

from crewstream_agents import models
from crewstream_agents.isolation import isolate
from crewstream_agents.journal import seam
from crewstream_agents.measure import Recorder
from crewstream_agents.policy import ModelPolicy, ModelSpec, Policy, Route
from crewstream_agents.run import Run
from crewstream_agents.spec import CrewOutcome, CrewTask, ModelPrice, Operation, Status
from crewstream_agents.templates import Template
from support.openai_stub import Body, Fault, OpenAIStub

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*prevent checkpointing:UserWarning"),
]

TASK = CrewTask("w/t/1", "w", "t", 1, "acme", "p", "c", "", deadline_s=20.0)
PRICES = {
    "openai/first": ModelPrice(Decimal(1), Decimal(10)),
    "openai/second": ModelPrice(Decimal(3), Decimal(30)),
}


class One:
    """Templates of a single crew."""

    def __init__(self, crew: Crew) -> None:
        self._template = Template(crew, [agent.role for agent in crew.agents])

    async def get(self, *_: str) -> Template:
        return self._template

    def external_tools(self, _: str) -> list[str]:
        return []


@pytest.fixture(autouse=True)
def _installed() -> None:
    isolate()
    seam.install()


def single(**known: Any) -> Crew:
    worker = Agent(role="worker", goal="g", backstory="b", **known)
    task = Task(name="t", description="d", expected_output="e", agent=worker)
    return Crew(agents=[worker], tasks=[task])


def led(**_: Any) -> Crew:
    """CrewAI makes the manager by itself, with retries that no template can take out."""
    made = single()
    task = Task(name="t", description="d", expected_output="e")
    return Crew(
        agents=made.agents, tasks=[task], process=Process.hierarchical, manager_llm="openai/gpt-4o"
    )


def planned(**_: Any) -> Crew:
    made = single()
    made.planning = True
    return made


def routed(stub: OpenAIStub, *names: str, **known: Any) -> Policy:
    specs = tuple(ModelSpec(name, stub.base_url, timeout_s=0.5) for name in names or ("first",))
    return Policy(ModelPolicy(routes=(Route(specs),), **known))


async def execute(
    crew: Crew, policy: Policy, executor: str = "lean", task: CrewTask = TASK
) -> CrewOutcome:
    run = Run(task, policy=policy, recorder=Recorder(prices=PRICES))
    templates: Any = One(crew)
    environ = {"CREWSTREAM_EXECUTOR": executor, "OPENAI_API_KEY": "k"}
    return await run.execute(templates, models.assign, environ)


def always(fault: Fault) -> Callable[[int, Body], Fault]:
    return lambda *_: fault


BAD_DAYS = [
    (Fault(429, retry_after="0"), 2, "llm.rate_limited"),
    (Fault(500), 2, "llm.unavailable"),
    (Fault(503), 2, "llm.unavailable"),
    (Fault(hang_s=1.5), 2, "llm.unavailable"),
    (Fault(cut=True), 2, "llm.unavailable"),
    (Fault(401), 1, "llm.auth"),
    (Fault(400), 1, "llm.rejected"),
]


@pytest.mark.parametrize(("fault", "requests", "error_type"), BAD_DAYS)
@pytest.mark.parametrize("executor", ["lean", "stock"])
async def test_a_failing_model_is_asked_once_more_and_no_oftener(
    fault: Fault, requests: int, error_type: str, executor: str
) -> None:
    with OpenAIStub(fault=always(fault)) as stub:
        outcome = await execute(single(max_retry_limit=2), routed(stub), executor)

    assert outcome.failure is not None
    assert (outcome.failure.error_type, len(stub.requests)) == (error_type, requests)
    chats = [call for call in outcome.calls if call.operation is Operation.CHAT]
    assert len(chats) == requests
    assert outcome.usage.cost_usd == 0


@pytest.mark.parametrize("make", [led, planned])
async def test_agents_that_crewai_makes_do_not_multiply_tries(
    make: Callable[..., Crew], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with OpenAIStub(fault=always(Fault(500))) as stub:
        outcome = await execute(make(), routed(stub))

    assert outcome.failure is not None
    assert (outcome.failure.error_type, len(stub.requests)) == ("llm.unavailable", 2)


async def test_a_judge_without_a_model_is_no_verdict() -> None:
    crew = single()
    crew.tasks[0] = Task(
        name="t", description="d", expected_output="e", agent=crew.agents[0], guardrail="Be kind."
    )

    with OpenAIStub(fault=lambda n, _: Fault(500) if n > 1 else None) as stub:
        outcome = await execute(crew, routed(stub))

    assert outcome.failure is not None
    assert (outcome.failure.error_type, len(stub.requests)) == ("llm.unavailable", 3)


async def test_what_passes_is_answered_by_the_second_try() -> None:
    with OpenAIStub(fault=lambda n, _: Fault(429, "0") if n == 1 else None) as stub:
        outcome = await execute(single(), routed(stub))

    assert (outcome.status, len(stub.requests)) == (Status.SUCCEEDED, 2)
    failed, answered = (c for c in outcome.calls if c.operation is Operation.CHAT)
    assert (failed.error_type, answered.error_type) == ("llm.failed", "")
    assert answered.attributes["tries"] == "2"
    assert (outcome.usage.input_tokens, outcome.usage.output_tokens) == (100, 10)


@pytest.mark.parametrize("fault", [Fault(429, "60"), Fault(500), Fault(401), Fault(404)])
async def test_the_model_behind_answers_and_is_paid(fault: Fault) -> None:
    with OpenAIStub(fault=lambda _, b: fault if b["model"] == "first" else None) as stub:
        outcome = await execute(single(), routed(stub, "first", "second"))

    assert [body["model"] for body in stub.requests] == ["first", "second"]
    assert outcome.status is Status.SUCCEEDED
    _, paid = (call for call in outcome.calls if call.operation is Operation.CHAT)
    assert (paid.model, paid.attributes["fallback_of"]) == ("second", "openai/first")
    assert outcome.usage.cost_usd == Decimal("0.0006")  # 100 at 3 $, 10 at 30 $ a million


async def test_a_request_at_fault_goes_to_no_other_model() -> None:
    with OpenAIStub(fault=always(Fault(400))) as stub:
        outcome = await execute(single(), routed(stub, "first", "second"))

    assert outcome.failure is not None
    assert (outcome.failure.error_type, len(stub.requests)) == ("llm.rejected", 1)


async def test_an_answer_that_is_cut_short_by_its_limit_is_asked_for_once() -> None:
    with OpenAIStub(fault=always(Fault(finish="length"))) as stub:
        outcome = await execute(single(), routed(stub))

    assert (outcome.status, len(stub.requests)) == (Status.SUCCEEDED, 1)


async def test_a_streamed_answer_is_paid_as_it_is_used() -> None:
    with OpenAIStub() as stub:
        crew = single(llm=LLM("openai/first", base_url=stub.base_url, api_key="k", stream=True))
        outcome = await execute(
            crew, Policy(ModelPolicy(routes=(Route((ModelSpec("offline"),), agent="nobody"),)))
        )

    assert outcome.status is Status.SUCCEEDED
    assert (outcome.usage.input_tokens, outcome.usage.output_tokens) == (100, 10)
    assert outcome.usage.cost_usd == Decimal("0.0002")


async def test_a_model_that_a_crew_declares_itself_has_a_time_limit_and_no_tries_of_its_own() -> (
    None
):
    with OpenAIStub(fault=always(Fault(hang_s=1.5))) as stub:
        own = LLM("openai/first", base_url=stub.base_url, api_key="k")
        policy = Policy(
            ModelPolicy(routes=(Route((ModelSpec("offline"),), agent="nobody"),), timeout_s=0.4)
        )
        outcome = await execute(single(llm=own), policy)

    assert outcome.failure is not None
    assert (outcome.failure.error_type, len(stub.requests)) == ("llm.unavailable", 2)


async def test_each_agent_has_the_model_of_its_route() -> None:
    @tool("look")
    def look(word: str) -> str:
        """Look something up."""
        return word

    first = Agent(role="Chief analyst", goal="g", backstory="b", tools=[look])
    second = Agent(role="writer", goal="g", backstory="b")
    tasks = [
        Task(name=name, description="d", expected_output="e", agent=agent)
        for name, agent in (("a", first), ("b", second))
    ]
    with OpenAIStub() as stub:
        spec = ModelSpec("cheap", stub.base_url)
        policy = Policy(
            ModelPolicy(
                routes=(Route((replace(spec, model="strong"),), agent="*analyst"), Route((spec,)))
            )
        )
        outcome = await execute(Crew(agents=[first, second], tasks=tasks), policy)

    assert outcome.status is Status.SUCCEEDED
    assert [body["model"] for body in stub.requests] == ["strong", "strong", "cheap"]
    assert outcome.model == "openai/cheap"
