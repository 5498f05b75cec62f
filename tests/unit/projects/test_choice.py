"""Bizoholic's two writers: whoever has the better record does the content package."""

from __future__ import annotations

from collections import Counter

import pytest

from crewstream_agents import models
from crewstream_agents.isolation import isolate
from crewstream_agents.projects import bizoholic
from crewstream_agents.registry import describe
from crewstream_agents.run import Run
from crewstream_agents.selection import EXPLORE, AgentRecord, ordered, standing, unknown
from crewstream_agents.spec import Candidate, CrewOutcome, CrewTask, Status
from crewstream_agents.templates import Templates

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*prevent checkpointing:UserWarning"),
]

KIND = "content_generation"
TEMPLATES = Templates({"bizoholic": bizoholic.PROJECT})


def candidate(agent: str, succeeded: int) -> Candidate:
    return standing(AgentRecord(agent, 40, succeeded, 40, succeeded), ())


async def write(*known: Candidate, explore: float | None = 0.0) -> CrewOutcome:
    isolate()
    task = CrewTask(
        *("w/t/1", "w", "t", 1, "acme", "bizoholic", "marketing_strategy", KIND),
        inputs={"industry": "coffee", "campaign_duration": 30},
        standings={f"{KIND}/{each.agent}": each for each in known},
        deadline_s=60.0,
    )
    return await Run(task, None, explore).execute(TEMPLATES, models.assign, {})


async def test_whose_record_is_better_writes_and_the_package_is_as_good() -> None:
    first = await write()
    better = await write(candidate("content_creator", 20), candidate("content_editor", 39))

    assert (first.agent, better.agent) == ("Content creator", "Content editor")
    assert (first.status, better.status) == (Status.SUCCEEDED, Status.SUCCEEDED)
    assert first.output_json == better.output_json
    assert better.selections[0].reason.startswith("highest score: content_editor")
    assert better.attributes["agent_name"] == "content_editor"


async def test_where_selection_is_off_tasks_yaml_says_who_writes() -> None:
    outcome = await write(candidate("content_editor", 40), explore=None)

    assert (outcome.agent, list(outcome.selections)) == ("Content creator", [])


def test_over_many_assignments_the_other_one_gets_the_share_that_explores() -> None:
    agents = bizoholic.PROJECT.candidates[KIND]
    known = [unknown(agents[0]), candidate("content_editor", 38)]

    orders = [ordered(known, f"w{number}/content/1", EXPLORE) for number in range(5_000)]
    chosen = Counter(order.candidates[0].agent for order in orders)

    assert chosen["content_creator"] / 5_000 == pytest.approx(EXPLORE, abs=0.017)
    assert chosen["content_creator"] == sum(order.explored for order in orders)


def test_the_catalogue_says_who_can_do_it() -> None:
    (crew,) = describe(bizoholic.PROJECT).crews
    able = {task.task_type: list(task.agents) for task in crew.tasks}

    assert able[KIND] == ["content_creator", "content_editor"]
    assert able["campaign_strategy"] == []
