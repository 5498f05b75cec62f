"""Tools with effects outside, leases that were taken over, budgets: each across a crash."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from crewai import Crew
from crewai.tools import BaseTool
from typing_extensions import override

from crewstream_agents.cancellation import StopFlag
from crewstream_agents.failures import RunRefused
from crewstream_agents.isolation import isolate
from crewstream_agents.journal import seam
from crewstream_agents.journal.budget import Charge
from crewstream_agents.journal.store import Lease, Written
from crewstream_agents.limits.serving import ModelFailed
from crewstream_agents.measure import total
from crewstream_agents.spec import Account, CrewTask
from crewstream_agents.tools import NOT_PERFORMED, NotPerformed, idempotency_key
from support.journal_bench import Bench, Kickoff, akickoff, kickoff, new_task
from support.journal_crews import SHAPES, Price, Stock, agent, model, one

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*prevent checkpointing:UserWarning"),
]

sent: Counter[str] = Counter()
"""Effects by idempotency key, and how often `reconcile` was asked."""


class Mail(BaseTool):
    """A tool with an effect that cannot be taken back."""

    name: str = "mail"
    description: str = "send a mail"
    external: bool = True
    raises: Any = None

    @override
    def _run(self, sku: str) -> str:
        sent[str(idempotency_key())] += 1
        if self.raises is not None:
            raise self.raises
        return f"sent {sku}"


class KnownMail(Mail):
    """One that can be asked what became of a call."""

    found: Any = NOT_PERFORMED

    def reconcile(self, key: str) -> Any:
        sent["asked"] += 1
        assert key in sent
        return self.found


class Killed(BaseException):
    """The process ends here."""


class Mortal(Lease):
    """Dies instead of writing a record whose field starts with `before`, the n-th time."""

    def __init__(self, bench: Bench, task: CrewTask, flag: StopFlag, before: str, nth: int) -> None:
        super().__init__(bench.redises, task, flag)
        self._before, self._left = before, nth

    @override
    def put(self, field: str, data: bytes, charge: Charge | None = None) -> Written:
        if field.startswith(self._before):
            self._left -= 1
            if not self._left:
                raise Killed
        return super().put(field, data, charge)

    @override
    def release(self, reservation: str, *, lost: bool) -> None:
        """A process that has ended releases nothing."""


@pytest.fixture
def bench(valkey: str) -> Iterator[Bench]:
    isolate()
    seam.install()
    sent.clear()
    made = Bench(valkey)
    yield made
    made.close()


def mailing(mail: Mail, *, native: bool = True) -> Crew:
    return one(agent(model(("mail", "A"), native=native), mail))


def die(bench: Bench, crew: Crew, task: CrewTask, before: str, nth: int = 1, **how: Any) -> None:
    with pytest.raises(Killed):
        bench.run(crew, task, lease=lambda t, flag: Mortal(bench, t, flag, before, nth), **how)


def effects() -> tuple[int, int]:
    """How many effects there were, and of how many calls."""
    keys = [key for key in sent if key != "asked"]
    return sum(sent[key] for key in keys), len(keys)


@pytest.mark.parametrize("native", [True, False], ids=["native", "ReAct"])
def test_an_effect_of_unknown_outcome_stops_the_run_until_a_person_decides(
    bench: Bench, *, native: bool
) -> None:
    task = new_task()
    die(bench, mailing(Mail(), native=native), task, "r:tool")

    again = bench.run(mailing(Mail(), native=native), task)

    assert (again.stopped, again.llm, effects()) == ("tool.unknown_outcome", 0, (1, 1))
    assert again.journal.flag.error is not None
    assert "mail" in str(again.journal.flag.error)
    assert next(iter(sent)) in str(again.journal.flag.error)

    allowed = bench.run(mailing(Mail(), native=native), replace(task, repeat_unknown=True))
    assert (allowed.stopped, effects()) == ("", (2, 1))


@pytest.mark.parametrize("native", [True, False], ids=["native", "ReAct"])
def test_a_tool_that_knows_what_became_of_a_call_is_asked(bench: Bench, *, native: bool) -> None:
    task = new_task()
    die(bench, mailing(KnownMail(), native=native), task, "r:tool")

    again = bench.run(mailing(KnownMail(found="sent, I know"), native=native), task)

    assert (again.stopped, effects(), sent["asked"]) == ("", (1, 1), 1)
    assert "sent, I know" in str([c for c in bench.records(task.journal) if "tool" in c[0]])


def test_a_call_that_was_not_performed_is_made_under_the_same_key(bench: Bench) -> None:
    task = new_task()
    die(bench, mailing(KnownMail()), task, "r:tool")

    again = bench.run(mailing(KnownMail()), task)

    assert (again.stopped, effects(), sent["asked"]) == ("", (2, 1), 1)


@pytest.mark.parametrize("native", [True, False], ids=["native", "ReAct"])
def test_a_failed_effect_is_not_tried_again_unknowingly(bench: Bench, *, native: bool) -> None:
    crew = one(
        agent(model(("mail", "A"), ("mail", "A"), native=native), Mail(raises=TimeoutError("t")))
    )

    ran = bench.run(crew, new_task())

    assert (ran.stopped, effects()) == ("tool.unknown_outcome", (1, 1))


def test_what_certainly_had_no_effect_may_be_tried_again(bench: Bench) -> None:
    crew = one(agent(model(("mail", "A"), native=False), Mail(raises=NotPerformed("refused"))))

    ran = bench.run(crew, new_task())

    assert ran.stopped == ""
    assert effects()[0] > 1
    assert effects()[1] == 1


def test_another_attempt_of_the_task_has_the_same_key(bench: Bench) -> None:
    bench.run(mailing(Mail()), new_task())
    bench.run(mailing(Mail()), new_task())

    assert effects() == (2, 1)


@pytest.mark.parametrize("start", [kickoff, akickoff])
@pytest.mark.parametrize("lean", [True, False], ids=["lean", "stock"])
@pytest.mark.parametrize("shape", ["native tools", "ReAct", "hierarchical, ReAct"])
def test_a_run_that_was_taken_over_writes_nothing_more(
    bench: Bench, shape: str, start: Kickoff, *, lean: bool
) -> None:
    class Stolen(Lease):
        """Another run takes the journal over after the second record."""

        @override
        def put(self, field: str, data: bytes, charge: Charge | None = None) -> Written:
            written = super().put(field, data, charge)
            if written.sequence == 2:
                bench.lease(task, StopFlag()).acquire()
            return written

    task = new_task()
    ran = bench.run(
        SHAPES[shape](),
        task,
        start,
        lean=lean,
        lease=lambda given, flag: Stolen(bench.redises, given, flag),
    )

    assert ran.stopped == "run.fenced"
    assert len(bench.records(task.journal)) == 2
    assert ran.llm + ran.tools <= 3


def test_a_run_whose_attempt_has_an_outcome_does_not_begin(bench: Bench) -> None:
    task = new_task()
    bench.redis.set(f"{bench.prefix}:outcome:{task.assignment_id}", b"done")

    with pytest.raises(RunRefused) as refused:
        bench.run(SHAPES["native tools"](), task)
    assert refused.value.failure.error_type == "run.fenced"


def charged(limit: int = 0, **known: Any) -> CrewTask:
    return new_task(
        accounts=[Account("workflow:w", max_tokens=limit), Account("tenant:a:2026-11")], **known
    )


def three_calls() -> Crew:
    who = agent(model(("price", "A"), ("stock", "B"), max_tokens=50), Price(), Stock())
    return one(who)


def test_what_is_spent_is_what_the_journal_says(bench: Bench) -> None:
    ran = bench.run(three_calls(), charged(), offline=False)

    assert ran.llm == 3
    assert total(ran.journal.calls()).input_tokens == 30
    for name in ("workflow:w", "tenant:a:2026-11"):
        assert bench.account(name)["tokens_spent"] == 45


@pytest.mark.parametrize("start", [kickoff, akickoff])
@pytest.mark.parametrize("lean", [True, False], ids=["lean", "stock"])
def test_a_run_stops_at_its_limit_and_goes_on_when_it_is_raised(
    bench: Bench, start: Kickoff, *, lean: bool
) -> None:
    task = charged(10_000)
    bench.run(three_calls(), task, start, lean=lean, offline=False)
    most = bench.account("workflow:w")["tokens_spent"]
    bench.redis.delete(f"{bench.prefix}:budget:workflow:w")

    task = charged(most)
    ran = bench.run(three_calls(), task, start, lean=lean, offline=False)
    assert (ran.stopped, ran.llm) == ("budget.exceeded", 0)
    (alert,) = ran.journal.alerts()
    assert (alert.level, alert.unit, int(alert.limit)) == ("hard", "tokens", most)
    assert bench.account("workflow:w").get("tokens_reserved", 0) == 0

    bench.redis.hset(f"{bench.prefix}:budget:workflow:w", "max_tokens", 100_000)
    again = bench.run(three_calls(), task, start, lean=lean, offline=False)
    assert (again.stopped, again.llm) == ("", 3)
    assert bench.account("workflow:w")["tokens_spent"] == most


def test_a_call_that_a_crash_cut_off_is_kept_apart(bench: Bench) -> None:
    task = charged(1_000_000)
    die(bench, three_calls(), task, "r:llm", 2, offline=False)
    cut = bench.account("workflow:w")
    assert cut["tokens_spent"] == 15
    assert cut["tokens_reserved"] > 15

    again = bench.run(three_calls(), task, offline=False)

    after = bench.account("workflow:w")
    assert again.llm == 2
    assert (after["tokens_spent"], after["tokens_reserved"]) == (45, 0)
    assert after["tokens_lost"] == cut["tokens_reserved"]
    assert total(again.journal.calls()).input_tokens == 30
    assert sum(call.replayed for call in again.journal.calls()) == 2


def test_a_call_that_fails_holds_nothing(bench: Bench) -> None:
    def fail(*_: Any) -> str:
        raise ConnectionError("refused")

    with pytest.raises(ModelFailed, match="refused"):
        bench.run(one(agent(model(compose=fail))), charged(1_000_000), offline=False)

    assert bench.account("workflow:w")["tokens_reserved"] == 0
    assert "tokens_spent" not in bench.account("workflow:w")


def test_a_limit_that_comes_near_is_told_once(bench: Bench) -> None:
    account = Account("workflow:w", max_tokens=1_000_000, soft_ratio=0.00003)
    told = [
        bench.run(three_calls(), new_task(accounts=[account]), offline=False).journal.alerts()
        for _ in range(2)
    ]

    ((alert,), none) = told
    assert (alert.account, alert.level, alert.spent) == ("workflow:w", "soft", Decimal(30))
    assert not none


def test_an_alert_outlives_the_run_that_crossed_the_limit(bench: Bench) -> None:
    account = Account("workflow:w", max_tokens=1_000_000, soft_ratio=0.00001)
    task = new_task(accounts=[account])
    die(bench, three_calls(), task, "r:llm", 2, offline=False)

    assert len(bench.run(three_calls(), task, offline=False).journal.alerts()) == 1
