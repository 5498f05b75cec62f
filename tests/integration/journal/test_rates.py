"""Rates that all runners share: their arithmetic, their queue, and a provider's pauses."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from crewai.hooks.dispatch import HookAborted
from redis import Redis

from crewstream_agents.cancellation import StopFlag
from crewstream_agents.journal.store import Redises
from crewstream_agents.limits import bucket
from crewstream_agents.limits.gate import Gate, WouldWait
from crewstream_agents.limits.steps import adrive, drive
from crewstream_agents.policy import ModelPolicy, Policy, Rate
from crewstream_agents.spec import CrewTask, JournalPlace

pytestmark = pytest.mark.integration

TASK = CrewTask("w/t/1", "w", "t", 1, "acme", "p", "c", "")
MINUTE = 60_000_000


class Shared:
    """A bucket in a real Redis whose clock is ours: the script's is replaced by a key."""

    def __init__(self, url: str) -> None:
        self.redis: Any = Redis.from_url(url)
        self.prefix = f"t{uuid.uuid4().hex[:8]}"
        self.key = bucket.bucket_key(self.prefix, "m")
        self.now = 1_700_000_000_000_000

    def _eval(self, script: str, args: list[Any], model: str = "") -> int:
        fixed = script.replace(
            "local time = redis.call('TIME')",
            f"local time = {{{self.now // 1_000_000}, {self.now % 1_000_000}}}",
        )
        assert fixed != script
        own = f"{self.key}/{model}" if model else self.key
        keys = [self.key, own] if script == bucket.TAKE else [own]
        return int(self.redis.eval(fixed, len(keys), *keys, *args))

    def take(self, ticket: str, rate: Rate, project: str = "p", **known: Any) -> int:
        pace = bucket.pace(rate)
        args = [ticket, project, known.get("weight", 1), known.get("tokens", 0)]
        args += [pace.request_us, pace.request_tolerance_us, pace.token_us, bucket.TOLERANCE_US]
        args += [bucket.LEASE_US, bucket.KEPT_MS]
        return self._eval(bucket.TAKE, args, known.get("model", ""))

    def leave(self, ticket: str, project: str = "p") -> None:
        self._eval(bucket.LEAVE, [ticket, project])

    def settle(self, too_much: int, rate: Rate) -> None:
        self._eval(bucket.SETTLE, [too_much, bucket.pace(rate).token_us])

    def back_off(self, asked_us: int = -1, model: str = "") -> int:
        args = [asked_us, bucket.LONGEST_BACK_US, bucket.KEPT_MS]
        return self._eval(bucket.BACK_OFF, args, model)


@pytest.fixture
def shared(valkey: str) -> Iterator[Shared]:
    made = Shared(valkey)
    yield made
    made.redis.close()


def served(
    shared: Shared, rate: Rate, asking: dict[str, str], until_us: int
) -> list[tuple[int, str]]:
    """(when, project) of each call, where `asking` are tickets and their projects, always again.

    Each asks again as soon as it was told to, so nothing depends on a real clock.
    """
    due = dict.fromkeys(asking, shared.now)
    count: Counter[str] = Counter()
    found: list[tuple[int, str]] = []
    begun = shared.now
    while True:
        ticket = min(due, key=lambda one: (due[one], one))
        if due[ticket] - begun > until_us:
            return found
        shared.now = max(shared.now, due[ticket])
        wait = shared.take(f"{ticket}/{count[ticket]}", rate, asking[ticket])
        if wait == 0:
            found.append((shared.now - begun, asking[ticket]))
            count[ticket] += 1
        due[ticket] = shared.now + min(wait, 1_000_000) + (wait == 0)


@pytest.mark.parametrize("per_minute", [1, 7, 20, 60, 240])
def test_no_minute_has_more_requests_than_the_rate_and_few_places_are_lost(
    shared: Shared, per_minute: int
) -> None:
    rate = Rate(requests_per_minute=per_minute)

    times = [at for at, _ in served(shared, rate, {"a": "p", "b": "p"}, 3 * MINUTE)]

    most = max(sum(start <= at < start + MINUTE for at in times) for start in times)
    assert most <= per_minute
    assert len(times) >= 0.9 * 3 * per_minute


def test_projects_that_contend_have_equal_shares_whatever_their_number_of_calls(
    shared: Shared,
) -> None:
    asking = {f"big{i}": "big" for i in range(12)} | {"small1": "small", "small2": "small"}

    found = served(shared, Rate(requests_per_minute=120), asking, 2 * MINUTE)

    had = Counter(project for at, project in found if at > 10_000_000)
    assert abs(had["big"] - had["small"]) <= 3


def test_a_project_that_has_been_away_has_no_claim_on_what_others_had(shared: Shared) -> None:
    rate = Rate(requests_per_minute=60)
    served(shared, rate, {"a": "busy"}, MINUTE)

    found = served(shared, rate, {"a": "busy", "b": "late", "c": "late"}, MINUTE // 2)

    had = Counter(project for _, project in found)
    assert abs(had["busy"] - had["late"]) <= 3


def test_weights_are_shares(shared: Shared) -> None:
    rate, count = Rate(requests_per_minute=600), Counter[str]()
    queue = {(project, n) for project in ("heavy", "light") for n in range(40)}
    for _ in range(400):
        for project, n in sorted(queue):
            weight = 3 if project == "heavy" else 1
            if shared.take(f"{project}{n}", rate, project, weight=weight) == 0:
                queue.discard((project, n))
                count[project] += 1
        if count["heavy"] + count["light"] >= 60:
            break
        shared.now += 100_000

    # What went before anybody waited counts for both.
    assert count["heavy"] > 2 * (count["light"] - 15)
    assert count["light"] > 10


def test_who_does_not_ask_any_more_holds_nobody_up(shared: Shared) -> None:
    rate = Rate(requests_per_minute=1)
    assert shared.take("first", rate) == 0
    assert shared.take("gone", rate) > 0
    assert shared.take("left", rate) > 0
    assert shared.take("here", rate) > 2 * MINUTE

    shared.leave("left")
    shared.now += bucket.LEASE_US + 1

    assert shared.take("here", rate) < 1.1 * MINUTE


def test_tokens_are_held_as_estimated_and_set_right(shared: Shared) -> None:
    rate = Rate(tokens_per_minute=60_000)
    assert shared.take("a", rate, tokens=30_000) == 0
    assert shared.take("b", rate, tokens=100) == pytest.approx(28.5e6, rel=0.01)

    shared.settle(28_000, rate)

    assert shared.take("b", rate, tokens=100) == 0


def test_a_pause_holds_for_all_and_doubles_until_it_is_over(shared: Shared) -> None:
    assert shared.take("a", Rate()) == 0

    assert [shared.back_off() for _ in range(3)] == [1_000_000, 2_000_000, 4_000_000]
    assert shared.take("a", Rate()) == 4_000_000
    assert shared.back_off(30_000_000) == 30_000_000
    assert shared.take("a", Rate(requests_per_minute=60)) == 30_000_000

    shared.now += 100_000_000
    assert shared.take("a", Rate()) == 0
    assert shared.back_off() == 1_000_000


def test_a_pause_of_one_model_holds_up_no_other_of_its_rate(shared: Shared) -> None:
    rate = Rate(requests_per_minute=6)
    assert shared.take("a", rate, model="large") == 0
    assert shared.take("b", rate, model="large") > 0
    shared.back_off(60_000_000, "large")

    assert shared.take("b", rate, model="large") == 60_000_000
    shared.now += 11_000_000
    assert shared.take("c", rate, model="small") == 0


@pytest.fixture
def gate(valkey: str) -> Iterator[Gate]:
    redises = Redises(JournalPlace(valkey, f"t{uuid.uuid4().hex[:8]}"), lambda: None)
    yield Gate(TASK, Policy(ModelPolicy()), StopFlag(), time.monotonic() + 600, redises)
    redises.close()


def enter(gate: Gate, rate: Rate, most_s: float = 60) -> Any:
    return drive(gate.enter("m", rate, 0, most_s), gate.flag, lambda _: None)


async def _nothing(_: Any) -> None:
    """No call is made."""


def waiting(gate: Gate) -> int:
    assert gate.redis is not None
    key = bucket.bucket_key(gate.redis.prefix, "m") + ":leases"
    return int(gate.redis.ask("return redis.call('ZCARD', KEYS[1])", [key], [], StopFlag()))


def test_a_rate_without_a_place_in_time_is_told_at_once(gate: Gate) -> None:
    hourly = Rate(requests_per_minute=1)
    assert enter(gate, hourly) == 0.0

    with pytest.raises(WouldWait):
        enter(gate, hourly, most_s=5)
    with pytest.raises(WouldWait):
        enter(replace(gate, ends_at=time.monotonic() + 5), hourly)
    assert waiting(gate) == 0


async def test_who_waits_is_stopped_with_its_run(gate: Gate) -> None:
    slow = Rate(requests_per_minute=1)
    enter(gate, slow)

    thread = asyncio.create_task(asyncio.to_thread(enter, gate, slow, 600))
    task = asyncio.create_task(adrive(gate.enter("m", slow, 0, 600), gate.flag, _nothing))
    while waiting(gate) < 2:  # noqa: ASYNC110 - somebody else's state, in Redis
        await asyncio.sleep(0.01)
    task.cancel()
    gate.flag.stop()

    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(HookAborted):
        await thread
    assert waiting(gate) == 0


def test_a_model_without_a_rate_is_asked_about_once_in_a_while_and_after_a_pause(
    gate: Gate,
) -> None:
    assert enter(gate, Rate()) == 0.0
    assert gate.redis is not None
    assert "m" in gate.redis.free_until

    drive(gate.back_off("m", 30), gate.flag, lambda _: None)

    with pytest.raises(WouldWait):
        enter(gate, Rate(), most_s=5)
