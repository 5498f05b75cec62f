"""Who asked whom, why, and what came of it; and who is asked instead."""

from __future__ import annotations

from dataclasses import replace

import pytest
from crewai import Agent, Crew, Task

from crewstream_agents.delegation import FAILED, LONGEST_TEXT, UNKNOWN_COWORKER
from crewstream_agents.isolation import isolate
from crewstream_agents.journal import seam
from crewstream_agents.spec import CrewOutcome, Delegation, Status
from crewstream_agents.templates import Template
from support.casting import STAFF, TASK, answering, led, model, perform, standings
from support.journal_memory import MemoryLease

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*prevent checkpointing:UserWarning"),
]

RANKED = replace(TASK, standings=standings(alice=0.4, bob=0.9, carol=0.6))
EQUALS = [STAFF]


@pytest.fixture(autouse=True, scope="module")
def _isolated() -> None:
    isolate()
    seam.install()


def only(outcome: CrewOutcome) -> Delegation:
    (found,) = outcome.delegations
    return found


@pytest.mark.parametrize("native", [True, False], ids=["native", "text"])
@pytest.mark.parametrize("kind", ["delegate_work", "ask_question"])
async def test_it_is_told_who_asked_whom_why_and_what_came_back(kind: str, *, native: bool) -> None:
    outcome = await perform(led("Carol", native=native, kind=kind.partition("_")[0]))

    found = only(outcome)
    assert outcome.output == "told: Carol did it"
    assert (found.manager, found.coworker, found.name) == ("Boss", "Carol", "carol")
    assert (found.kind, found.task, found.context) == (kind, "weigh it", "for the quote")
    assert (found.result, found.error_type, found.asked) == ("Carol did it", "", "")
    assert found.at is not None
    assert found.duration_ms > 0


async def test_agents_of_a_sequential_crew_that_may_delegate_are_told_of_as_well() -> None:
    asks = [("delegate_work_to_coworker", {"task": "t", "context": "c", "coworker": "bob"})]
    boss = Agent(
        role="Alice for {shop}",
        goal="g",
        backstory="b",
        llm=model(plan=lambda *_: asks),
        allow_delegation=True,
    )
    task = Task(name="quote", description="d", expected_output="x", agent=boss)
    crew = Crew(agents=[boss, answering("Bob")], tasks=[task])

    outcome = await perform(
        Template(crew, ["alice", "bob"]),
        replace(TASK, task_type="quote", inputs={"shop": "Corner"}),
    )

    found = only(outcome)
    assert (found.manager, found.coworker, found.name) == ("Alice for Corner", "Bob", "bob")
    assert outcome.attributes["agent_name"] == "alice"


async def test_a_coworker_that_is_not_there_is_a_failed_delegation() -> None:
    found = only(await perform(led("Dave")))

    assert (found.coworker, found.name, found.error_type) == ("Dave", "", UNKNOWN_COWORKER)


async def test_a_coworker_that_fails_is_a_failed_delegation() -> None:
    template = led("Bob")

    def fails(*_: object) -> str:
        raise ZeroDivisionError("no scales")

    template.crew.agents[1].llm = model(compose=fails)

    assert only(await perform(template)).error_type == FAILED


async def test_a_run_that_goes_on_tells_the_same_of_a_delegation() -> None:
    lease = MemoryLease()
    first = await perform(led("Carol"), lease=lease)

    again = await perform(led("Carol"), lease=lease)

    assert only(again) == only(first)
    assert again.usage == first.usage


async def test_what_travels_of_a_delegation_is_shortened() -> None:
    template = led("Bob")
    template.crew.agents[1].llm = model(compose=lambda *_: "long " * 1_000)

    assert len(only(await perform(template)).result) == LONGEST_TEXT


@pytest.mark.parametrize("native", [True, False], ids=["native", "text"])
async def test_the_coworker_of_the_best_record_does_it_where_they_are_interchangeable(
    *, native: bool
) -> None:
    outcome = await perform(led("Alice", native=native), RANKED, interchangeable=EQUALS)

    found = only(outcome)
    assert (outcome.status, outcome.output) == (Status.SUCCEEDED, "told: Bob did it")
    assert (found.coworker, found.name, found.asked) == ("Bob", "bob", "Alice")
    assert [(made.task_type, made.agent) for made in outcome.selections] == [
        ("", "bob"),  # the order in which they were offered
        ("", "bob"),
    ]


async def test_who_is_in_no_group_does_what_was_asked_for() -> None:
    found = only(await perform(led("Alice"), RANKED, interchangeable=[("bob", "carol")]))

    assert (found.coworker, found.asked) == ("Alice", "")


@pytest.mark.parametrize(("named", "who"), [("Carrol", "Carol"), ("The lawyer", "Bob")])
async def test_a_name_that_nobody_has_is_repaired_where_the_project_lets_it(
    named: str, who: str
) -> None:
    found = only(await perform(led(named), RANKED, interchangeable=EQUALS))

    assert (found.coworker, found.asked, found.error_type) == (who, named, "")


async def test_a_run_that_goes_on_asks_the_same_coworker_whatever_the_records_say_by_then() -> None:
    lease = MemoryLease()
    first = await perform(led("Alice"), RANKED, lease, interchangeable=EQUALS)
    later = replace(RANKED, standings=standings(alice=0.9, bob=0.1, carol=0.6))

    again = await perform(led("Alice"), later, lease, interchangeable=EQUALS)

    assert only(again) == only(first)
    assert again.usage == first.usage
    assert again.selections == first.selections


async def test_nobody_is_asked_instead_where_selection_is_off() -> None:
    outcome = await perform(led("Alice"), RANKED, explore=None, interchangeable=EQUALS)

    assert only(outcome).coworker == "Alice"
    assert list(outcome.selections) == []
