"""An agent that has all the tasks it may have is not chosen: counted in a real Redis."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from redis import Redis

from crewstream_agents.cancellation import StopFlag
from crewstream_agents.isolation import isolate
from crewstream_agents.journal import seam
from crewstream_agents.spec import CrewOutcome, CrewTask, Status
from crewstream_agents.workload import LEASE_S, Workload, agent_key
from support.casting import STAFF, equals, led, perform, standings
from support.journal_bench import Bench, new_task

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*prevent checkpointing:UserWarning"),
]

RECORDS = standings(alice=0.4, bob=0.9, carol=0.6)


class Office:
    """Where agents work: runs, and who else holds a place."""

    def __init__(self, url: str) -> None:
        self.bench = Bench(url)
        self.redises = self.bench.redises
        self.redis = Redis.from_url(url)

    def task(self, **limits: int) -> CrewTask:
        task = replace(new_task(), project_id="sample", crew="desk", task_type="quote")
        return replace(task, standings=RECORDS, agent_limits=limits, deadline_s=20)

    def workload(self, task: CrewTask) -> Workload:
        return Workload(task, self.redises, StopFlag())

    def key(self, task: CrewTask, agent: str) -> str:
        return agent_key(self.redises.prefix, task.project_id, agent)

    def busy(self, task: CrewTask, agent: str) -> int:
        return int(self.redis.zcard(self.key(task, agent)))

    async def perform(self, task: CrewTask, template: Any = None, **project: Any) -> CrewOutcome:
        known = {"candidates": {"quote": STAFF}, **project}
        return await perform(template or equals(), task, redises=self.redises, **known)


@pytest.fixture
def office(valkey: str) -> Iterator[Office]:
    isolate()
    seam.install()
    made = Office(valkey)
    yield made
    for key in made.redis.scan_iter(match=f"{made.redises.prefix}:workload:*"):
        made.redis.delete(key)
    made.redis.close()
    made.bench.close()


async def test_who_is_at_its_limit_is_not_chosen_and_the_result_says_so(office: Office) -> None:
    task = office.task(bob=1)
    office.workload(office.task(bob=1)).take(["bob"])

    outcome = await office.perform(task)

    (made,) = outcome.selections
    assert (outcome.agent, made.agent, made.explored) == ("Carol", "carol", False)
    assert [(each.agent, each.busy) for each in made.candidates] == [
        ("bob", True),
        ("carol", False),
        ("alice", False),
    ]
    assert made.reason.startswith("highest score of those that are free: carol")


async def test_a_place_is_given_back_when_the_run_has_ended(office: Office) -> None:
    task = office.task(bob=1)
    held: list[int] = []
    template = equals()
    template.crew.tasks[0].callback = lambda _: held.append(office.busy(task, "bob"))

    first = await office.perform(task, template)
    second = await office.perform(office.task(bob=1))

    assert (first.agent, held, second.agent) == ("Bob", [1], "Bob")
    assert office.busy(task, "bob") == 0


async def test_where_all_are_busy_nobody_works_and_nothing_is_decided(office: Office) -> None:
    task = office.task(alice=1, bob=1, carol=1)
    others = [office.task(alice=1, bob=1, carol=1) for _ in STAFF]
    places = [office.workload(other) for other in others]
    for place, agent in zip(places, STAFF, strict=True):
        place.take([agent])

    waits = await office.perform(task)
    places[0].give_back()
    goes = await office.perform(task)

    assert waits.status is Status.FAILED
    assert waits.failure is not None
    assert (waits.failure.error_type, waits.failure.retryable) == ("agent.busy", True)
    assert list(waits.selections) == []
    assert (goes.status, goes.agent) == (Status.SUCCEEDED, "Alice")


async def test_an_agent_that_nobody_chose_has_its_limit_too(office: Office) -> None:
    office.workload(office.task(alice=1)).take(["alice"])

    outcome = await office.perform(office.task(alice=1), candidates={})

    assert outcome.failure is not None
    assert outcome.failure.error_type == "agent.busy"


async def test_the_place_of_a_crashed_run_is_its_own_and_expires(office: Office) -> None:
    task = office.task(bob=1)
    office.workload(task).take(["bob"])  # and then its process is killed
    later = office.workload(office.task(bob=1))

    assert later.take(["bob"]).index is None
    assert (await office.perform(task)).agent == "Bob"
    office.workload(task).take(["bob"])
    assert 0 < office.redis.pttl(office.key(task, "bob")) <= LEASE_S * 1000
    office.redis.zadd(office.key(task, "bob"), {task.assignment_id: 1.0})
    assert later.take(["bob"]).index == 0


def test_places_are_checked_and_taken_at_once(office: Office) -> None:
    tasks = [office.task(bob=3) for _ in range(20)]
    ready = threading.Barrier(len(tasks))

    def take(task: CrewTask) -> bool:
        workload = office.workload(task)
        ready.wait()
        return workload.take(["bob"]).index == 0

    with ThreadPoolExecutor(len(tasks)) as threads:
        assert sum(threads.map(take, tasks)) == 3


async def test_a_busy_coworker_is_not_asked_in_anothers_place(office: Office) -> None:
    office.workload(office.task(bob=1)).take(["bob"])
    task = replace(office.task(bob=1), task_type="")

    outcome = await office.perform(task, led("Alice"), candidates={}, interchangeable=[STAFF])

    assert [each.coworker for each in outcome.delegations] == ["Carol"]
    assert outcome.selections[-1].candidates[0].busy
