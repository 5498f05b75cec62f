"""What runs next: once, within limits, fair between tenants, urgent and begun work first."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from crewstream.contracts.events import Priority, TaskAssigned
from crewstream.domain.job import AGEING_S, Job, job_of
from crewstream.domain.ranked import Ranked
from crewstream.domain.window import Window

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TENANTS, PROJECTS, KEYS = "abc", "pq", "xyz"
NUMBERS = itertools.count()


def job(
    tenant: str = "a",
    project: str = "p",
    *,
    key: str = "",
    at_s: float = 0.0,
    accepted_s: float | None = None,
    priority: Priority = Priority.NORMAL,
    started: bool = False,
) -> Job:
    name = f"w{next(NUMBERS)}/t/1"
    since = NOW + timedelta(seconds=at_s if accepted_s is None else accepted_s)
    at = NOW + timedelta(seconds=at_s)
    return Job(name, tenant, project, "w", key or name, at, since, priority, started)


def filled(
    jobs: Iterable[Job],
    weight: Callable[[str], float] = lambda _: 1.0,
    most: Callable[[str], int | None] = lambda _: None,
) -> Window[Job]:
    window: Window[Job] = Window(weight, most)
    for each in jobs:
        window.add(each, each)
    return window


def picked(window: Window[Job], ran_s: float = 1.0) -> list[Job]:
    """All jobs, one after the other."""
    found = []
    while (each := window.pick()) is not None:
        found.append(each)
        window.done(each, ran_s)
    return found


jobs = st.builds(
    job,
    st.sampled_from(TENANTS),
    st.sampled_from(PROJECTS),
    key=st.sampled_from(["", "", *KEYS]),
    at_s=st.floats(0, 1000),
    priority=st.sampled_from(Priority),
    started=st.booleans(),
)
weights = st.fixed_dictionaries(dict.fromkeys(TENANTS, st.floats(0.1, 10)))
mosts = st.fixed_dictionaries(dict.fromkeys(PROJECTS, st.none() | st.integers(1, 3)))
# What happens next: a job comes, the oldest run ends, a queued job is dropped; all fill up.
steps = st.lists(jobs | st.sampled_from(["end", "drop"]), max_size=60)


@dataclass
class Model:
    """The same jobs in lists, and what must hold for them."""

    window: Window[Job]
    most: dict[str, int | None]
    slots: int

    def __post_init__(self) -> None:
        self.queued: list[Job] = []
        self.running: list[Job] = []
        self.picked: list[Job] = []

    def can_run(self, one: Job) -> bool:
        here = [other for other in self.running if other.project_id == one.project_id]
        most = self.most[one.project_id]
        return (most is None or len(here) < most) and all(o.key != one.key for o in here)

    def add(self, one: Job) -> None:
        self.queued.append(one)
        self.window.add(one, one)

    def drop(self) -> None:
        if self.queued:
            assert self.window.drop(self.queued.pop(0))

    def end(self, ran_s: float) -> None:
        if self.running:
            self.window.done(self.running.pop(0), ran_s)

    def fill(self) -> None:
        while len(self.running) < self.slots and (one := self.window.pick()) is not None:
            assert self.can_run(one), "a limit, or a key, was exceeded"
            self.queued.remove(one)
            self.running.append(one)
            self.picked.append(one)
        assert self.window.queued == len(self.queued)
        assert self.window.running == len(self.running)
        if len(self.running) < self.slots:
            assert not any(map(self.can_run, self.queued)), "a job that can run was passed over"


@given(steps, weights, mosts, st.integers(1, 5), st.floats(0, 100))
def test_every_job_is_picked_once_within_the_limits_and_as_soon_as_it_can_run(
    steps: list[Job | str],
    weights: dict[str, float],
    most: dict[str, int | None],
    slots: int,
    ran_s: float,
) -> None:
    model = Model(Window(weights.__getitem__, most.__getitem__), most, slots)
    added, dropped = 0, 0
    for step in steps:
        if isinstance(step, Job):
            model.add(step)
            added += 1
        elif step == "end":
            model.end(ran_s)
        else:
            dropped += bool(model.queued)
            model.drop()
        model.fill()
    while model.running:
        model.end(ran_s)
        model.fill()
    assert not model.queued
    assert len(model.picked) == len(set(model.picked)) == added - dropped


@given(
    st.lists(st.sampled_from([0.5, 1.0, 2.0, 3.0, 7.0]), min_size=2, max_size=5),
    st.floats(0.01, 100),
    st.integers(1, 60),
)
def test_tenants_share_by_their_weights(shares: list[float], ran_s: float, rounds: int) -> None:
    weight = dict(zip(map(str, range(len(shares))), shares, strict=True))
    window = filled(
        (job(tenant) for tenant in weight for _ in range(rounds + 1)), weight=weight.__getitem__
    )
    given = Counter[str]()
    for _ in range(rounds):
        one = window.pick()
        assert one is not None
        given[one.tenant_id] += 1
        window.done(one, ran_s)
    # The bound of start-time fair queueing: one job of each, over its weight. The first jobs of
    # all were charged a guess, which was put right.
    for one_, other in itertools.combinations(weight, 2):
        apart = abs(given[one_] / weight[one_] - given[other] / weight[other])
        assert apart <= 1 / weight[one_] + 1 / weight[other] + 1e-6


def test_long_and_short_jobs_get_the_same_time() -> None:
    window = filled([job("long") for _ in range(50)] + [job("short") for _ in range(500)])
    used = Counter[str]()
    for _ in range(110):
        one = window.pick()
        assert one is not None
        ran_s = 10.0 if one.tenant_id == "long" else 1.0
        used[one.tenant_id] += int(ran_s)
        window.done(one, ran_s)
    assert used["long"] == used["short"]


def test_one_job_is_next_whatever_another_tenant_has_queued() -> None:
    window = filled(job("flood", at_s=number) for number in range(10_000))
    for _ in range(100):
        window.done(window.pick() or job(), 1.0)
    late = job("b", at_s=20_000)
    window.add(late, late)
    assert window.pick() is late


def test_who_was_idle_has_no_claim_on_the_past() -> None:
    window = filled(job("a") for _ in range(100))
    for _ in range(50):
        window.done(window.pick() or job(), 1.0)
    for _ in range(50):
        one = job("b")
        window.add(one, one)
    assert Counter(each.tenant_id for each in picked(window)[:20]) == {"a": 10, "b": 10}


def test_who_was_held_back_by_a_limit_has_no_claim_on_the_past() -> None:
    window = filled(
        [*(job("a", "p") for _ in range(100)), *(job("b", "q") for _ in range(50))],
        most=lambda project: 1 if project == "q" else None,
    )
    first = window.pick()
    while first is not None and first.tenant_id != "b":
        first = window.pick()
    assert first is not None
    for _ in range(40):
        one = window.pick()
        assert one is not None
        assert one.tenant_id == "a"
        window.done(one, 1.0)
    window.done(first, 1.0)
    assert Counter(each.tenant_id for each in picked(window)[:20])["a"] >= 9


@given(st.lists(jobs, min_size=1))
def test_all_of_a_tenant_go_by_rank(found: list[Job]) -> None:
    own = [replace(each, tenant_id="a", key=each.name) for each in found]
    order = picked(filled(own))

    def since_s(one: Job) -> float:
        level = ["low", "normal", "high", "urgent"].index(one.priority) + one.started / 2
        return (one.assigned_at - NOW).total_seconds() - level * AGEING_S

    ranks = [since_s(one) for one in order]
    assert all(before <= after + 1e-3 for before, after in itertools.pairwise(ranks))


def test_urgent_work_goes_first_until_other_work_has_waited_long_enough() -> None:
    urgent = job(at_s=100, priority=Priority.URGENT)
    young, old = job(at_s=100 - AGEING_S), job(at_s=99 - 2 * AGEING_S)
    assert picked(filled([young, urgent, old])) == [old, urgent, young]


def test_what_is_begun_is_ended_before_new_work_begins() -> None:
    new, begun = job(at_s=0), job(at_s=10, started=True)
    assert picked(filled([new, begun])) == [begun, new]
    accepted_early = job(at_s=300, accepted_s=-40, started=True)
    assert picked(filled([new, accepted_early])) == [accepted_early, new]


def test_a_workflow_of_last_week_does_not_hold_back_what_is_urgent_for_ever() -> None:
    old = job(at_s=0, accepted_s=-7 * 86_400, started=True, priority=Priority.LOW)
    assert picked(filled([old, job(at_s=-9.5 * AGEING_S - 1)]))[1] is old


def test_of_a_key_one_job_runs_and_each_tenant_takes_its_turn() -> None:
    many = [job("a", key="crm", at_s=number) for number in range(50)]
    other, free = job("b", key="crm", at_s=100), job("a", at_s=200)
    window = filled([*many, other, free])
    first = window.pick()
    assert first is many[0]
    assert window.pick() is free
    assert window.pick() is None
    window.done(first, 1.0)
    assert window.pick() is other


def test_a_job_that_is_dropped_leaves_its_key_to_the_next() -> None:
    running, waits, next_ = (job(key="crm", at_s=number) for number in range(3))
    window = filled([running, waits, next_])
    assert window.pick() is running
    assert window.pick() is None
    window.done(running, 1.0)
    assert window.drop(waits)
    assert window.pick() is next_
    assert not window.drop(next_), "it runs"


def test_a_full_project_holds_back_its_own_jobs_only() -> None:
    here, there = [job(project="p") for _ in range(5)], [job(project="q") for _ in range(5)]
    window = filled([*here, *there], most=lambda project: 2 if project == "p" else 9)
    running = [window.pick() for _ in range(7)]
    assert window.pick() is None
    assert Counter(each.project_id for each in running if each) == {"p": 2, "q": 5}
    assert window.queued_by_project() == {"p": 3}


def test_attempts_at_a_task_share_a_key_and_so_do_tasks_that_name_one() -> None:
    task = TaskAssigned(
        assignment_id="w/t/1",
        workflow_id="w",
        task_id="t",
        attempt=1,
        tenant_id="a",
        project_id="p",
        crew="c",
        assigned_at=NOW,
        started=True,
    )
    first, again = job_of(task), job_of(task.model_copy(update={"assignment_id": "w/t/2"}))
    assert first.key == again.key
    assert first.accepted_at == NOW
    assert first.started
    keyed = task.model_copy(update={"concurrency_key": "w/t"})
    assert job_of(keyed).key != first.key
    assert job_of(keyed).key == job_of(keyed.model_copy(update={"task_id": "u"})).key


@given(
    st.lists(
        st.tuples(st.sampled_from(["put", "drop", "pop"]), st.integers(0, 5), st.integers(0, 9))
    )
)
def test_a_heap_whose_items_leave_is_a_sorted_list(steps: list[tuple[str, int, int]]) -> None:
    heap, plain = Ranked[int](), dict[int, tuple[int, int]]()
    for number, (what, item, rank) in enumerate(steps):
        if what == "put":
            heap.put(item, (rank,))
            if plain.get(item, (None,))[0] != rank:
                plain[item] = rank, number
        elif what == "drop":
            assert heap.drop(item) == (plain.pop(item, None) is not None)
        elif plain:
            least = min(plain, key=plain.__getitem__)
            assert heap.pop() == ((plain.pop(least)[0],), least)
        else:
            assert heap.pop() is None
        assert len(heap) == len(plain)
