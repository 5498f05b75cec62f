"""How often a model is really asked when its server has a bad day, whoever would try again."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from crewai import LLM, Agent, Crew, Process, Task
from crewai.tools import tool
from crewsample.model import ScriptedModel

from crewstream_agents import models
from crewstream_agents.isolation import isolate
from crewstream_agents.journal import seam
from crewstream_agents.journal.store import Redises
from crewstream_agents.limits import serving
from crewstream_agents.measure import Recorder
from crewstream_agents.policy import ModelPolicy, ModelSpec, Policy, Rate, Route
from crewstream_agents.project import Project
from crewstream_agents.run import Run
from crewstream_agents.spec import (
    CrewOutcome,
    CrewTask,
    JournalPlace,
    ModelPrice,
    Operation,
    Status,
)
from crewstream_agents.templates import Template, Templates
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


NOBODY = Route((ModelSpec("offline"),), agent="nobody")
"""So that there is a route, and what crews declare is not replaced by the offline model."""


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    isolate()
    seam.install()
    monkeypatch.setattr(serving, "PAUSE_S", 0.01)


@pytest.fixture
def redises(valkey: str) -> Iterator[Redises]:
    made = Redises(JournalPlace(valkey, f"t{uuid.uuid4().hex[:8]}"), lambda: None)
    yield made
    made.close()


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


def routed(stub: OpenAIStub, *names: str, model_timeout_s: float = 10.0, **known: Any) -> Policy:
    specs = tuple(
        ModelSpec(name, stub.base_url, timeout_s=model_timeout_s) for name in names or ("first",)
    )
    return Policy(ModelPolicy(routes=(Route(specs),), **known))


async def execute(
    crew: Crew,
    policy: Policy,
    executor: str = "lean",
    task: CrewTask = TASK,
    redises: Redises | None = None,
) -> CrewOutcome:
    run = Run(task, redises, policy=policy, recorder=Recorder(prices=PRICES))
    template = Template(crew, [agent.role for agent in crew.agents])
    project = Project(task.project_id, "P", {"c": "nowhere:Crew"})
    built: dict[Any, Any] = {(task.project_id, "c"): template}
    templates = Templates({task.project_id: project}, _built=built)
    environ = {"CREWSTREAM_EXECUTOR": executor, "OPENAI_API_KEY": "k"}
    return await run.execute(templates, models.assign, environ)


def always(fault: Fault) -> Callable[[int, Body], Fault]:
    return lambda *_: fault


HANG_S = 2.0
BAD_DAYS = [
    (Fault(429, retry_after="0"), 2, "llm.rate_limited"),
    (Fault(429, retry_after="3600"), 1, "llm.rate_limited"),
    (Fault(500), 2, "llm.unavailable"),
    (Fault(503), 2, "llm.unavailable"),
    (Fault(hang_s=HANG_S), 2, "llm.unavailable"),
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
        policy = routed(stub, model_timeout_s=1.0 if fault.hang_s else 10.0)
        outcome = await execute(single(max_retry_limit=2), policy, executor)

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


async def test_a_run_that_begins_again_finds_the_answers_of_whichever_model(
    redises: Redises,
) -> None:
    task = replace(TASK, journal="w/t/1")

    with OpenAIStub(fault=lambda _, b: Fault(500) if b["model"] == "first" else None) as stub:
        policy = routed(stub, "first", "second")
        first = await execute(single(), policy, task=task, redises=redises)
        stub.fault = lambda *_: None
        again = await execute(single(), policy, task=task, redises=redises)

    assert [body["model"] for body in stub.requests] == ["first", "second"]
    assert (again.status, again.output) == (first.status, first.output)


async def test_what_a_provider_asks_of_one_run_all_runs_do(redises: Redises) -> None:
    with OpenAIStub(fault=lambda _, b: Fault(429, "30") if b["model"] == "first" else None) as stub:
        policy = routed(stub, "first", "second")
        for number in range(3):
            task = replace(TASK, assignment_id=f"w/t/{number}", project_id=f"p{number}")
            outcome = await execute(single(), policy, task=task, redises=redises)
            assert outcome.status is Status.SUCCEEDED
        alone = await execute(single(), routed(stub, "first"), redises=redises)

    assert [body["model"] for body in stub.requests] == ["first", *["second"] * 3]
    assert alone.failure is not None
    assert alone.failure.error_type == "llm.rate_limited"
    assert 20 < (alone.failure.retry_after_s or 0) <= 30


async def test_runs_keep_to_a_shared_rate(redises: Redises) -> None:
    rates = {"openai/*": Rate(requests_per_minute=1)}
    with OpenAIStub() as stub:
        policy = routed(stub, "first", "second", rates=rates, patience_s=0.0)
        outcomes = [
            await execute(single(), policy, task=replace(TASK, project_id=name), redises=redises)
            for name in ("a", "b")
        ]

    waits = [one.failure.error_type if one.failure else "" for one in outcomes]
    assert waits == ["", "llm.rate_limited"]
    assert len(stub.requests) == 1


@pytest.mark.parametrize("executor", ["lean", "stock"])
async def test_a_model_whose_client_has_no_time_limit_is_left_after_that_of_all(
    executor: str,
) -> None:
    slow = ScriptedModel(model="scripted/slow", latency_s=1.5)
    policy = Policy(ModelPolicy((NOBODY,), timeout_s=0.05, retries=0))

    outcome = await execute(single(llm=slow), policy, executor)

    assert outcome.failure is not None
    assert outcome.failure.error_type == "llm.unavailable"
    assert "did not end within its 0.05 s" in outcome.failure.message


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
        outcome = await execute(crew, Policy(ModelPolicy(routes=(NOBODY,))))

    assert outcome.status is Status.SUCCEEDED
    assert (outcome.usage.input_tokens, outcome.usage.output_tokens) == (100, 10)
    assert outcome.usage.cost_usd == Decimal("0.0002")


async def test_a_model_that_a_crew_declares_itself_has_a_time_limit_and_no_tries_of_its_own() -> (
    None
):
    with OpenAIStub(fault=always(Fault(hang_s=HANG_S))) as stub:
        own = LLM("openai/first", base_url=stub.base_url, api_key="k")
        policy = Policy(ModelPolicy(routes=(NOBODY,), timeout_s=1.0))
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
