"""What holds for tools that know nothing of us: lists, caches, times, rates; across crashes."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from crewai import Crew
from crewai.tools import BaseTool, tool
from typing_extensions import override

from crewstream_agents.isolation import isolate
from crewstream_agents.journal import seam
from crewstream_agents.policy import Policy, ToolPolicy, ToolRule
from crewstream_agents.spec import Call, Operation
from support.journal_bench import Bench, Ran, new_task
from support.journal_crews import Broken, Price, agent, made, model, one

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*prevent checkpointing:UserWarning"),
]

NATIVE = pytest.mark.parametrize("native", [True, False], ids=["native", "ReAct"])
release = threading.Event()


class Slow(Price):
    """One that does not end by itself."""

    name: str = "slow"

    @override
    def _run(self, sku: str) -> str:
        made["tool"] += 1
        release.wait(20)
        return "late"


class SlowMail(Slow):
    external: bool = True


class Kept(Price):
    """A tool of ours that says that its results may be kept."""

    cacheable: bool = True


def never(*_: Any) -> bool:
    return False


def loudly(sku: str) -> str:
    """Say it loudly."""
    made["tool"] += 1
    return sku.upper()


vars(loudly).update(cacheable=True, cache_ttl_s=60.0)
shout: Any = tool("shout")(loudly)


@pytest.fixture
def bench(valkey: str) -> Iterator[Bench]:
    isolate()
    seam.install()
    release.clear()
    bench = Bench(valkey)
    yield bench
    release.set()
    bench.close()


def calling(given: BaseTool, times: int = 1, *, native: bool = True) -> Crew:
    return one(agent(model(*[(given.name, "A")] * times, native=native), given))


def rules(**known: ToolRule) -> Policy:
    return Policy(tools=ToolPolicy(known))


def tools_of(ran: Ran) -> list[Call]:
    return [call for call in ran.journal.calls() if call.operation is Operation.EXECUTE_TOOL]


def told(ran: Ran) -> list[tuple[str, Mapping[str, str]]]:
    return [(call.error_type, call.attributes) for call in tools_of(ran)]


@NATIVE
@pytest.mark.parametrize("lists", [[["other"]], [["pr*"], ["stock", "oth?r"]]])
def test_a_tool_that_is_not_on_every_list_is_not_called_and_the_model_is_told(
    bench: Bench, lists: list[list[str]], *, native: bool
) -> None:
    ran = bench.run(calling(Price(), native=native), new_task(tools=lists))

    assert (ran.stopped, ran.tools) == ("", 0)
    assert told(ran) == [("tool.not_allowed", {"refused": "true"})]
    assert "may not be called in project p for tenant acme" in str(
        bench.records(ran.journal.task.journal)
    )


def test_a_tool_on_every_list_is_called(bench: Bench) -> None:
    ran = bench.run(calling(Price()), new_task(tools=[["PR*"], ["stock", "price"]]))

    assert (ran.tools, told(ran)) == (1, [("", {})])


@NATIVE
def test_a_refusal_may_end_the_run_and_is_forgotten_once_the_tool_is_allowed(
    bench: Bench, *, native: bool
) -> None:
    task = new_task(tools=[["other"]])
    stopping = Policy(tools=ToolPolicy(stop_when_refused=True))

    ran = bench.run(calling(Price(), native=native), task, policy=stopping)
    again = bench.run(calling(Price(), native=native), replace(task, tools=[["price"]]))

    assert (ran.stopped, ran.tools) == ("tool.not_allowed", 0)
    assert (again.stopped, again.tools, again.llm) == ("", 1, 1)


def test_delegation_is_no_tool_of_these_lists(bench: Bench) -> None:
    from support.journal_crews import SHAPES  # noqa: PLC0415 - beside its only use

    ran = bench.run(SHAPES["hierarchical, ReAct"](), new_task(tools=[["*"]]))
    refused = bench.run(SHAPES["hierarchical, ReAct"](), new_task(tools=[["nothing"]]))

    assert "tool.not_allowed" not in str(told(ran))
    assert {error for error, _ in told(refused)} <= {"tool.not_allowed"}
    assert refused.llm >= 2


@NATIVE
def test_a_tool_that_does_not_end_in_time_is_left_alone(bench: Bench, *, native: bool) -> None:
    task = new_task()
    policy = rules(slow=ToolRule(timeout_s=0.1))

    ran = bench.run(calling(Slow(), native=native), task, policy=policy)
    again = bench.run(calling(Slow(), native=native), task, policy=policy)

    assert (ran.stopped, ran.tools) == ("", 1)
    assert told(ran) == [("tool.timeout", {})]
    assert (again.tools, again.llm) == (0, 0)


def test_an_effect_outside_that_does_not_end_in_time_is_a_question_for_a_person(
    bench: Bench,
) -> None:
    policy = rules(slow=ToolRule(timeout_s=0.1))

    ran = bench.run(calling(SlowMail(), native=False), new_task(), policy=policy)

    assert (ran.stopped, ran.tools) == ("tool.unknown_outcome", 1)


@NATIVE
@pytest.mark.parametrize("given", [Kept(), shout], ids=["class", "@tool"])
def test_a_result_is_found_again_by_later_runs_and_their_replays(
    bench: Bench, given: BaseTool, *, native: bool
) -> None:
    task = new_task()

    first = bench.run(calling(given, native=native), new_task())
    second = bench.run(calling(given, native=native), task)
    replay = bench.run(calling(given, native=native), task)

    assert [ran.tools for ran in (first, second, replay)] == [1, 0, 0]
    assert [told(ran)[0] for ran in (first, second)] == [
        ("", {"cache": "miss"}),
        ("", {"cache": "hit"}),
    ]
    assert replay.llm == 0
    assert first.output.split("after")[1] == second.output.split("after")[1]


def test_results_are_a_tenants_and_a_projects_own(bench: Bench) -> None:
    runs = [
        bench.run(calling(Kept()), replace(new_task(), tenant_id=tenant, project_id=project))
        for tenant, project in (("a:b", "c"), ("a", "b:c"), ("a", "c"), ("a:b", "d"))
    ]

    assert [ran.tools for ran in runs] == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        (Broken(), ToolRule(cache_ttl_s=60)),
        (Price(), ToolRule()),
        (Kept(), ToolRule(cache_ttl_s=0)),
        (Kept(cache_function=never), ToolRule()),
    ],
    ids=["an error", "not asked for", "configured away", "the tool's own say"],
)
def test_what_must_not_be_kept_is_made_again(bench: Bench, given: BaseTool, rule: Any) -> None:
    policy = rules(**{given.name: rule})

    runs = [bench.run(calling(given), new_task(), policy=policy) for _ in range(2)]

    assert [ran.tools for ran in runs] == [1, 1]


def test_results_of_tools_with_an_effect_outside_are_never_kept(bench: Bench) -> None:
    class Mail(Kept):
        external: bool = True

    policy = rules(price=ToolRule(cache_ttl_s=60))

    runs = [
        bench.run(calling(Mail()), replace(new_task(), workflow_id=name), policy=policy)
        for name in ("one", "two")
    ]

    assert [ran.tools for ran in runs] == [1, 1]


def test_a_tool_waits_for_its_rate_or_is_told_that_there_is_no_time(bench: Bench) -> None:
    policy = rules(price=ToolRule(calls_per_minute=1))
    task = new_task(deadline_s=10.0)

    ran = bench.run(calling(Price(), times=2), task, policy=policy)

    assert ran.tools == 1
    assert [error for error, _ in told(ran)] == ["", "tool.rate_limited"]


def test_a_wait_for_a_rate_is_measured(bench: Bench) -> None:
    class Paced(Price):
        calls_per_minute: float = 300.0

    runs = [bench.run(calling(Paced()), new_task()) for _ in range(20)]

    assert told(runs[0]) == [("", {})]
    assert any("waited_ms" in attributes for ran in runs for _, attributes in told(ran))
