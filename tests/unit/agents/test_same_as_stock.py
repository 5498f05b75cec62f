"""The lean loop and CrewAI's own do the same: requests, outputs, tool calls, callbacks, events."""

from __future__ import annotations

import pytest
from crewai import Agent
from crewai.agents.agent_executor import AgentExecutor

from crewstream_agents.copies import copied
from crewstream_agents.executor import LeanExecutor, choose
from crewstream_agents.isolation import isolate
from support.shapes import several, single
from support.shapes.log import Log, Seen, observe
from support.shapes.models import Model, OverflowsOnce
from support.shapes.shape import AKICKOFF, KICKOFF, Shape, agent, one

pytestmark = [
    # CrewAI reads its own deprecated fields.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*callbacks cannot be serialized"),
]

SHAPES = dict([*single.shapes(), *several.shapes()])
RUNS = [(name, way) for name, shape in SHAPES.items() for way in shape.ways]

NO_ANSWER = "Agent completed execution but produced no final output."
"""What stock answers when it has recovered from an overflow in text: nobody asks the model again.
Ours does, which is the one difference that is meant."""


@pytest.fixture(autouse=True)
def _isolated() -> None:
    """As in a runner: else every run of either side waits for SQLite and its file lock."""
    isolate()


def seen(shape: Shape, way: str, *, by_ours: bool) -> Seen:
    log = Log()
    crew = shape.build(log)
    if shape.copies:
        crew = copied(crew) if by_ours else crew.copy()
    if by_ours:
        staff = [*crew.agents, *([crew.manager_agent] if crew.manager_agent else [])]
        choose(staff, {})
        for each in staff:
            assert isinstance(each, Agent)
            assert (each.executor_class is LeanExecutor) is shape.lean
    return observe(
        crew, log, awaited=way == AKICKOFF, inputs=shape.inputs, in_order=not shape.at_once
    )


@pytest.mark.parametrize(("name", "way"), RUNS)
def test_does_what_the_stock_loop_does(name: str, way: str) -> None:
    stock = seen(SHAPES[name], way, by_ours=False)

    assert seen(SHAPES[name], way, by_ours=True) == stock
    assert stock.asked or name == "an input is missing"


@pytest.mark.parametrize("way", [KICKOFF, AKICKOFF])
def test_recovers_from_an_overflow_that_the_stock_loop_turns_into_a_wrong_answer(way: str) -> None:
    shape = Shape(lambda log: one(agent(OverflowsOnce(model="scripted/x", log=log))))

    ours = seen(shape, way, by_ours=True)
    stock = seen(shape, way, by_ours=False)

    assert ours.outcome.startswith("('answer after overflow'")
    assert stock.outcome.startswith(f"('{NO_ANSWER}'")


def test_a_run_out_of_time_ends_as_in_stock_and_so_does_its_model_call() -> None:
    """Stock leaves a thread behind that goes on asking: what is asked is not compared."""
    shape = Shape(
        lambda log: one(
            agent(Model(model="scripted/x", log=log, latency_s=1.5), max_execution_time=1)
        )
    )

    ours = seen(shape, AKICKOFF, by_ours=True)
    stock = seen(shape, AKICKOFF, by_ours=False)

    assert ours.outcome == stock.outcome
    assert "timed out" in ours.outcome
    assert not ours.asked
    assert stock.asked


def test_the_suite_bites(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = Shape(lambda log: one(agent(Model(model="scripted/x", log=log))))
    stock = seen(shape, AKICKOFF, by_ours=False)
    started = LeanExecutor._show_start_logs  # noqa: SLF001 - any step that others can see

    monkeypatch.setattr(LeanExecutor, "_show_start_logs", lambda _: None)
    assert seen(shape, AKICKOFF, by_ours=True).events != stock.events
    monkeypatch.setattr(LeanExecutor, "_show_start_logs", started)
    assert seen(shape, AKICKOFF, by_ours=True).events == stock.events
    assert AgentExecutor is not LeanExecutor
