"""Which agents get the lean loop, what it adds to CrewAI's, and the names that it leans on."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from crewai import Agent, Crew
from crewai.agents.agent_executor import AgentExecutor
from crewai.utilities import agent_utils
from typing_extensions import override

from crewstream_agents import executor
from crewstream_agents.executor import EXECUTOR_SETTING, LeanExecutor, choose, fits
from support.shapes.log import Log
from support.shapes.models import Model, steps
from support.shapes.shape import agent, one
from support.shapes.single import OwnExecutor
from support.shapes.tools import Price

# CrewAI reads its own deprecated fields.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def model(cls: type[Model] = Model, **options: Any) -> Model:
    return cls(model="scripted/x", log=Log(), **options)


def lean(crew: Crew) -> Crew:
    choose(crew.agents, {})
    assert all(getattr(a, "executor_class", None) is LeanExecutor for a in crew.agents)
    return crew


def test_a_planning_agent_keeps_the_stock_loop() -> None:
    planner = agent(model(), planning=True)

    choose([planner], {})

    assert planner.executor_class is AgentExecutor


def test_the_setting_keeps_the_stock_loop() -> None:
    worker = agent(model())

    choose([worker], {EXECUTOR_SETTING: "stock"})

    assert worker.executor_class is AgentExecutor


def test_an_executor_of_the_users_own_stays() -> None:
    worker = agent(model(), executor_class=OwnExecutor)

    choose([worker], {})

    assert worker.executor_class is OwnExecutor


@pytest.mark.parametrize("release", ["1.14.9", "1.16.0", "2.0.0"])
def test_another_release_of_crewai_keeps_the_stock_loop_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, release: str
) -> None:
    crew = one(agent(model()))
    monkeypatch.setattr("crewai.__version__", release)

    with caplog.at_level(logging.WARNING):
        choose(crew.agents, {})
        choose(crew.agents, {})
        result: Any = crew.kickoff()

    assert isinstance(crew.agents[0].agent_executor, AgentExecutor)
    assert not isinstance(crew.agents[0].agent_executor, LeanExecutor)
    assert result.raw == "done"
    told = [r.getMessage() for r in caplog.records if r.name == executor.__name__]
    assert len(told) == 1
    assert told[0].startswith(f"crewai {release} is not 1.15.x")


async def test_a_model_without_acall_is_called_in_a_thread() -> None:
    class SyncOnly(Model):
        @override
        async def acall(self, *_: Any, **__: Any) -> Any:
            raise AssertionError("not implemented by this model")

    SyncOnly.acall = Model.__mro__[2].acall  # type: ignore[attr-defined,method-assign]

    result: Any = await lean(one(agent(model(SyncOnly)))).akickoff()

    assert result.raw == "done"


async def test_cancelling_reaches_the_model_call() -> None:
    crew = lean(one(agent(model(latency_s=30.0))))

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(crew.akickoff(), 0.2)


@pytest.mark.parametrize(
    "name",
    [
        "_create_initial_state",  # replaced, to spare one pydantic class a run
        "_flow_post_init",  # replaced, to bind no steps for the Flow engine
        "_console",  # one for all
        "_openai_tools",  # the native tool schemas that _setup_native_tools left
        "_invoke_step_callback",
        "_append_message_to_state",
        "_downgrade_to_text_tool_calling",
    ],
)
def test_the_private_names_that_the_lean_loop_leans_on_are_there(name: str) -> None:
    price = Price(log=Log())
    crew = lean(one(agent(model(plan=steps(("price", {"sku": "A"}))), tools=[price])))
    crew.kickoff()

    assert hasattr(crew.agents[0].agent_executor, name)


@pytest.mark.parametrize(
    "name",
    [
        "_prepare_llm_call",  # hooks, and the messages as they leave them
        "_proactively_summarize_context",
        "_validate_and_finalize_llm_response",
    ],
)
def test_the_private_functions_around_a_model_call_are_those_that_stock_calls(name: str) -> None:
    assert name in agent_utils.aget_llm_response.__code__.co_names


@pytest.mark.parametrize("name", ["initialize_reasoning", "check_max_iterations", "finalize"])
def test_the_steps_can_be_called_without_the_engine(name: str) -> None:
    assert callable(getattr(AgentExecutor, name).unwrap())


def said(*words: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text} for text in words]


def test_what_certainly_fits_the_window_is_not_counted() -> None:
    llm = model(window_tokens=1000)

    assert fits(llm, said("a" * 800), None, None)
    assert not fits(llm, said("a" * 900), None, None)
    assert not fits(llm, said("\N{PILE OF POO}" * 250), None, None)  # four bytes each
    assert not fits(llm, said("a" * 400, "b" * 400, "c"), None, None)
    assert not fits(llm, said("a" * 500), [{"function": "b" * 500}], None)


def test_what_is_not_plain_text_is_always_counted() -> None:
    llm = model()

    assert not fits(llm, [{"role": "user", "content": [{"type": "image_url"}]}], None, None)
    assert not fits(llm, [{"role": "user", "content": "see", "files": {"a": b""}}], None, None)
    assert not fits(llm, said("a"), None, Agent)
    assert not fits(object(), said("a"), None, None)


async def test_a_model_is_not_asked_for_a_count_that_cannot_matter() -> None:
    counted: list[Any] = []

    class Counting(Model):
        @override
        def get_input_tokens_count(self, messages: Any, *_: Any, **__: Any) -> int:
            counted.append(messages)
            return 1

    await lean(one(agent(model(Counting)))).akickoff()
    assert not counted

    await lean(one(agent(model(Counting, window_tokens=100)))).akickoff()
    assert counted
