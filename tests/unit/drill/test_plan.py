"""Faults and load are functions of the seed."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from crewstream.contracts.codec import Codec
from crewstream.contracts.events import WorkflowRequested
from crewstream.contracts.schemas import Schemas
from crewstream.domain import plan as graphs
from crewstream.drill import load, plan, recovery
from crewstream.drill.plan import Kind

SEEDS = st.integers(0, 2**31 - 1)
KINDS = st.lists(st.sampled_from(Kind), min_size=1, unique=True)


@given(SEEDS, st.integers(1, 60), KINDS)
def test_the_same_seed_plans_the_same_faults_in_order(
    seed: int, count: int, kinds: list[Kind]
) -> None:
    planned = plan.faults(seed, count, kinds)
    assert planned == plan.faults(seed, count, kinds)
    assert len(planned) == count
    assert [each.at_s for each in planned] == sorted(each.at_s for each in planned)
    assert planned[-1].at_s < plan.lasts_s(count)


@given(SEEDS, st.integers(1, 60), KINDS)
def test_every_kind_gets_its_share(seed: int, count: int, kinds: list[Kind]) -> None:
    dealt = Counter(each.kind for each in plan.faults(seed, count, kinds))
    assert {dealt[kind] for kind in kinds} <= {count // len(kinds), -(-count // len(kinds))}


def test_every_kind_says_how_long_it_was_felt() -> None:
    assert set(recovery.MEANING) == set(Kind)


@given(SEEDS)
def test_the_same_seed_asks_for_the_same_work(seed: int) -> None:
    def tasks() -> list[object]:
        return [request.tasks for request in load.workflows(seed, 16)]

    assert tasks() == tasks()


def test_every_request_is_one_that_a_coordinator_takes() -> None:
    codec = Codec(Schemas.load())
    rules = graphs.Rules(dict.fromkeys(load.PROJECTS))
    for request in load.workflows(7, 3 * len(load.SHAPES)):
        assert graphs.faults(request, rules, request.project_id) == ()
        assert codec.decode(codec.encode(request), WorkflowRequested).tasks == request.tasks


def test_every_task_has_content_of_its_own() -> None:
    refs = [task.inputs for request in load.workflows(7, 40) for task in request.tasks]
    assert len(set(refs)) == len(refs)


def test_some_requests_are_sent_twice() -> None:
    requests = load.workflows(7, 30)
    sent = Counter(request.workflow_id for request in load.sent(requests))
    assert set(sent) == {request.workflow_id for request in requests}
    assert set(sent.values()) == {1, 2}
