"""Whole runs of a project's crew on a journal: their outcomes, whatever ends them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from crewai import Crew
from crewsample import PROJECT
from crewsample.model import Choice, ScriptedModel
from crewsample.model import assign as scripted

from crewstream_agents import models
from crewstream_agents.executor import EXECUTOR_SETTING
from crewstream_agents.isolation import isolate
from crewstream_agents.journal import seam
from crewstream_agents.measure import Recorder
from crewstream_agents.registry import Project
from crewstream_agents.run import Run
from crewstream_agents.spec import Account, CrewOutcome, CrewTask, ModelPrice, Operation, Status
from crewstream_agents.templates import Templates
from support.brought import project
from support.crews import Drafts, RealRuns, reviewed
from support.journal_bench import Bench, new_task

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*prevent checkpointing:UserWarning"),
]

ACCOUNT = "workflow:w"


@pytest.fixture
def bench(valkey: str) -> Iterator[Bench]:
    isolate()
    seam.install()
    made = Bench(valkey)
    yield made
    made.close()


def quotes(**known: Any) -> CrewTask:
    return replace(
        new_task(**known), project_id="sample", crew="quotes", inputs={"sku": "A-17"}, deadline_s=20
    )


def paid(crew: Crew, task: CrewTask, environ: Mapping[str, str]) -> Choice:
    """The scripted models, as if they cost; what the writer may answer is long."""
    scripted(crew, task, environ)
    for agent, most in zip(crew.agents, (10, 1_000_000), strict=False):
        assert isinstance(agent.llm, ScriptedModel)
        agent.llm.max_tokens = most
    return Choice("scripted/model", offline=False)


async def execute(bench: Bench, task: CrewTask, project: Project = PROJECT) -> Any:
    prices = {"scripted/model": ModelPrice(Decimal(1), Decimal(2))}
    run = Run(task, bench.redises, recorder=Recorder(prices=prices))
    return await run.execute(Templates({"sample": project}), paid, {})


@pytest.mark.parametrize("executor", ["lean", "stock"])
@pytest.mark.parametrize("at_once", [False, True])
async def test_a_run_that_asks_goes_on_with_the_answers_from_what_it_has_paid(
    bench: Bench, executor: str, *, at_once: bool
) -> None:
    asked = list[str]()
    runs = RealRuns(
        lambda: reviewed(at_once=at_once),
        lambda role: Drafts(model=f"scripted/{role}"),
        {EXECUTOR_SETTING: executor},
        asked=asked,
        redises=bench.redises,
    )
    outcomes, answers = list[CrewOutcome](), list[str]()
    while not outcomes or outcomes[-1].failure is not None:
        task = replace(new_task(), journal="w/t/1", project_id="bizoholic", answers=tuple(answers))
        again = [await runs.run(task) for _ in range(2 if not at_once else 1)]
        assert len({each.output for each in again}) == 1  # whoever takes it up asks the same
        outcomes.append(again[0])
        failure = outcomes[-1].failure
        if failure is not None:
            assert failure.error_type == "human.input_wanted"
            answers.append("Again." if failure.message.endswith("draft 1") else "")

    last = outcomes[-1].crew_output
    assert last is not None
    names = ["Left", "Right"] if at_once else ["Write"]
    assert [each.raw for each in last.tasks_output] == [
        *(f"scripted/{name} draft 2" for name in names),
        "scripted/Edit draft 1",
    ]
    if not at_once:  # of calls at once, one may have been under way when another one asked
        assert len(asked) == len(set(asked)) == 3


async def test_an_outcome_tells_each_call_with_its_price(bench: Bench) -> None:
    outcome = await execute(bench, quotes(accounts=[Account(ACCOUNT)]))

    assert (outcome.status, outcome.epoch, outcome.covered) == (Status.SUCCEEDED, 1, 4)
    assert [(c.operation, bool(c.name)) for c in outcome.calls] == [
        (Operation.INVOKE_AGENT, False),
        (Operation.CHAT, True),
        (Operation.EXECUTE_TOOL, True),
        (Operation.CHAT, True),
        (Operation.INVOKE_AGENT, False),
        (Operation.CHAT, True),
    ]
    assert [c.sequence for c in outcome.calls] == list(range(6))
    assert {c.agent for c in outcome.calls} == {"Clerk for (not given)", "Writer"}
    assert outcome.usage.cost_usd == 3 * Decimal("0.000020")
    assert bench.account(ACCOUNT)["cost_spent"] == 60_000


async def test_a_second_run_of_the_attempt_pays_nothing(bench: Bench) -> None:
    task = quotes()
    first, second = await execute(bench, task), await execute(bench, task)

    assert second.output == first.output
    assert second.usage == first.usage
    assert sum(call.replayed for call in second.calls) == 4
    assert second.epoch == 2


async def test_what_was_brought_before_the_money_ended_is_kept(bench: Bench) -> None:
    outcome = await execute(bench, quotes(accounts=[Account(ACCOUNT, max_tokens=100_000)]))

    assert outcome.status is Status.FAILED
    assert (outcome.failure.error_type, outcome.failure.retryable) == ("budget.exceeded", False)
    assert ACCOUNT in outcome.failure.message
    assert outcome.output == "A-17=120"
    assert [alert.level for alert in outcome.alerts] == ["hard"]
    assert outcome.usage.llm_calls == 2


async def test_a_call_that_is_cut_off_by_a_cancellation_counts_as_lost(bench: Bench) -> None:
    task = quotes(accounts=[Account(ACCOUNT, max_tokens=100_000)])
    run = Run(replace(task, inputs={"latency_s": 30}), bench.redises)
    ending = asyncio.create_task(run.execute(Templates({"sample": PROJECT}), paid, {}))
    while not bench.account(ACCOUNT):  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0.01)
    run.stop()
    outcome = await asyncio.wait_for(ending, 5.0)

    assert outcome.status is Status.CANCELLED
    account = bench.account(ACCOUNT)
    assert account["tokens_reserved"] == 0
    assert account["tokens_lost"] > 0


async def test_a_project_can_declare_its_external_tools(bench: Bench) -> None:
    task = quotes()
    await execute(bench, task, replace(PROJECT, external_tools={"price_lookup"}))

    assert sum(field.startswith("s:") for field in bench.fields(task.journal)) == 1


async def test_a_flow_that_is_taken_up_again_pays_for_nothing_twice(bench: Bench) -> None:
    brought = project("flowing")
    task = replace(quotes(), project_id="tea-flow", crew="tea_flow", inputs={"leaf": "mint"})
    templates = Templates({"tea-flow": brought})
    first = await Run(task, bench.redises).execute(templates, models.assign, {})
    second = await Run(task, bench.redises).execute(templates, models.assign, {})

    assert (first.status, second.output_json) == (Status.SUCCEEDED, first.output_json)
    assert second.usage == first.usage
    chats = [call for call in second.calls if call.operation is Operation.CHAT]
    assert [call.replayed for call in chats if not call.name] == []
    assert sum(call.replayed for call in second.calls) == first.usage.llm_calls == 2
