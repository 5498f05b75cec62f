"""Where several agents can do a task, the one with the better record does it."""

from __future__ import annotations

from dataclasses import replace

import pytest

import crewstream_agents
from crewstream_agents.isolation import isolate
from crewstream_agents.journal import seam
from crewstream_agents.spec import Operation, Status
from support.casting import STAFF, TASK, equals, led, perform, standings
from support.journal_memory import MemoryLease

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*prevent checkpointing:UserWarning"),
]

QUOTE = replace(TASK, task_type="quote", standings=standings(alice=0.4, bob=0.9, carol=0.6))
ALL = {"quote": STAFF}


@pytest.fixture(autouse=True, scope="module")
def _isolated() -> None:
    isolate()
    seam.install()


async def test_the_agent_with_the_best_record_is_chosen_and_explained() -> None:
    outcome = await perform(equals(), QUOTE, candidates=ALL)

    assert (outcome.status, outcome.output, outcome.agent) == (
        Status.SUCCEEDED,
        "Bob did it",
        "Bob",
    )
    (made,) = outcome.selections
    assert (made.task_type, made.agent, made.explored) == ("quote", "bob", False)
    assert [each.agent for each in made.candidates] == ["bob", "carol", "alice"]
    assert made.reason.startswith("highest score: bob 0.90 ± 0.05 (100 runs)")
    assert outcome.attributes == {"agent_name": "bob"}


async def test_without_a_record_the_first_declared_one_is_chosen() -> None:
    outcome = await perform(equals(), replace(QUOTE, standings={}), candidates=ALL)

    assert outcome.agent == "Alice"
    assert "none has a record yet" in outcome.selections[0].reason


async def test_the_agent_that_a_request_names_does_it() -> None:
    outcome = await perform(equals(), replace(QUOTE, agent="carol"), candidates=ALL)

    assert (outcome.agent, list(outcome.selections)) == ("Carol", [])
    assert outcome.attributes["agent_name"] == "carol"


@pytest.mark.parametrize("explore", [0.0, None])
async def test_nobody_is_chosen_where_it_is_off_or_nothing_is_declared(
    explore: float | None,
) -> None:
    candidates = ALL if explore is None else {}

    outcome = await perform(equals(), QUOTE, explore=explore, candidates=candidates)

    assert (outcome.agent, list(outcome.selections)) == ("Alice", [])
    assert outcome.attributes["agent_name"] == "alice"


async def test_a_resumed_run_keeps_its_agent_whatever_the_records_say_by_then() -> None:
    lease = MemoryLease()
    first = await perform(equals(), QUOTE, lease, candidates=ALL)
    later = replace(QUOTE, standings=standings(alice=0.99, bob=0.1, carol=0.6))

    again = await perform(equals(), later, lease, candidates=ALL)
    anew = await perform(equals(), later, MemoryLease(), candidates=ALL)

    assert (again.agent, again.selections) == ("Bob", first.selections)
    assert [call.operation for call in again.calls if call.replayed] == [Operation.CHAT]
    assert anew.agent == "Alice"


async def test_each_task_of_a_whole_crew_gets_its_agent() -> None:
    outcome = await perform(equals(), replace(QUOTE, task_type=""), candidates=ALL)

    worked = [call.attributes for call in outcome.calls if call.operation == "invoke_agent"]
    assert worked == [
        {"crew_task": "quote", "agent_name": "bob"},
        {"crew_task": "offer", "agent_name": "alice"},
    ]
    assert [made.task_type for made in outcome.selections] == ["quote"]


async def test_coworkers_are_offered_in_the_order_of_their_records() -> None:
    task = replace(QUOTE, task_type="")

    outcome = await perform(led("Alice"), task)
    unknown = await perform(led("Alice"), replace(task, standings={}))

    (made,) = outcome.selections
    assert (made.task_type, made.agent) == ("", "bob")
    assert [each.agent for each in made.candidates] == ["bob", "carol", "alice"]
    assert list(unknown.selections) == []


async def test_what_a_crews_own_code_thinks_of_it_is_measured() -> None:
    def judge(_: object) -> None:
        for score in (0.25, 0.75):
            crewstream_agents.quality(score)

    template, lease = equals(), MemoryLease()
    template.crew.tasks[0].callback = judge

    outcome = await perform(template, QUOTE)
    journaled = [await perform(template, QUOTE, lease) for _ in range(2)]

    assert outcome.attributes["quality"] == "0.5"
    assert [each.attributes["quality"] for each in journaled] == ["0.5", "0.5"]


async def test_what_a_guardrail_refuses_is_counted() -> None:
    template = equals()
    answers = iter([(False, "again"), (True, "good")])
    template.crew.tasks[0].guardrail = lambda _: next(answers)

    outcome = await perform(template, QUOTE)

    assert outcome.attributes["guardrail_failures"] == "1"


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan")])
def test_a_quality_is_between_0_and_1(score: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        crewstream_agents.quality(score)


def test_outside_of_a_run_a_quality_goes_nowhere() -> None:
    crewstream_agents.quality(1.0)
