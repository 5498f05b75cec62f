"""Crews and flows of every shape run as they are, on the offline model, and are looked at."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace
from inspect import signature
from typing import TYPE_CHECKING

import pytest
from crewai import LLM

from crewstream_agents import inspection
from crewstream_agents.flows import PAYLOAD
from crewstream_agents.imports import importable
from crewstream_agents.isolation import isolate
from crewstream_agents.offline.model import OfflineModel
from crewstream_agents.spec import Operation, Status, Upstream
from crewstream_agents.standin import standing_in
from support.brought import BROUGHT, execute, project

if TYPE_CHECKING:
    from pathlib import Path

    from crewstream_agents.spec import CrewOutcome

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*prevent checkpointing:UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREWAI_STORAGE_DIR", str(tmp_path))
    isolate()


def failed_with(outcome: CrewOutcome) -> str:
    assert outcome.failure is not None
    return f"{outcome.failure.error_type}: {outcome.failure.message}"


async def test_a_classic_project_runs_as_it_is() -> None:
    brought = project("classic")
    outcome = await execute(brought, "tea_room", inputs={"guest": "Ann", "room": "Blue"})

    assert (outcome.status, outcome.agent) == (Status.SUCCEEDED, "Host of Blue")
    assert [call.tool for call in outcome.calls if call.tool] == ["kettle", "kettle"]
    assert "hot water for Ann" in outcome.output
    assert not (BROUGHT / "classic" / "cup.md").exists()


async def test_a_definition_runs_with_its_own_inputs_and_those_given() -> None:
    brought = project("defined")
    own = await execute(brought, "defined", inputs={"reader": "Ann"})
    given = await execute(brought, "defined", inputs={"reader": "Ann", "leaf": "white"})

    assert [own.agent, given.agent] == ["Taster of oolong", "Taster of white"]
    assert own.offline, "the model that it names has no key here"


async def test_a_flow_is_one_task_whose_crews_are_measured() -> None:
    brought = project("flowing")
    outcome = await execute(brought, "tea_flow", inputs={"leaf": "mint"}, description="By Ann")

    assert (outcome.status, outcome.offline) == (Status.SUCCEEDED, True)
    found = json.loads(outcome.output_json or "")
    assert found["result"]["leaf"] == "mint"
    assert json.loads(outcome.output) == found["result"]
    assert found["state"]["caused_by"] == "By Ann"
    assert found["state"]["blend"]
    assert PAYLOAD not in found["state"]
    agents = [c.agent for c in outcome.calls if c.operation is Operation.INVOKE_AGENT]
    assert agents == ["Blender of mint"]
    assert outcome.usage.llm_calls == 2, "the crew's, and the one that a step asks by itself"


async def test_each_run_of_a_flow_has_a_state_of_its_own() -> None:
    brought = project("flowing")
    runs = [execute(brought, "tea_flow", inputs={"leaf": leaf}) for leaf in ("mint", "sage")]
    found = [json.loads(each.output_json or "") for each in await asyncio.gather(*runs)]

    assert [each["state"]["leaf"] for each in found] == ["mint", "sage"]


async def test_what_earlier_tasks_brought_reaches_a_flow_as_its_payload() -> None:
    brought = project("flowing")
    upstream = (Upstream("first", "succeeded", "leaves"),)
    own = {"leaf": "mint", PAYLOAD: {"description": "theirs"}}

    outcome = await execute(brought, "tea_flow", inputs=own, upstream=upstream)

    assert json.loads(outcome.output_json or "")["state"]["caused_by"] == "theirs"


async def test_a_flow_runs_whole_or_not_at_all() -> None:
    outcome = await execute(project("flowing"), "tea_flow", task_type="blend")

    assert "task.unknown_type" in failed_with(outcome)


async def test_a_declared_flow_runs() -> None:
    outcome = await execute(project("declared"), "declared", inputs={"leaf": "black"})

    assert (outcome.status, outcome.output) == (Status.SUCCEEDED, "black")


async def test_a_crew_for_an_earlier_crewai_runs_when_that_is_asked_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Without the distribution, a module stands in for crewai_tools that has BaseTool alone.
    dated = await execute(project("dated", compat=True), "make_kitchen", inputs={"leaf": "green"})
    refused = await execute(project("dated"), "make_kitchen", inputs={"leaf": "green"})

    assert dated.status is Status.SUCCEEDED, failed_with(dated)
    assert "crew.invalid" in failed_with(refused)
    told = [r.message for r in caplog.records if r.message.startswith("compatibility")]
    assert {each.split(": ")[1].split("=")[0] for each in told} >= {
        "Agent(verbose",
        "Crew(verbose",
        "tool 'shelf' is adapted from LangChain",
        "Agent(llm",
    }


async def test_tasks_that_nobody_named_can_be_named_in_a_request() -> None:
    brought = project("dated", compat=True)
    outcome = await execute(brought, "make_kitchen", task_type="task_1", inputs={"leaf": "green"})

    assert "green is on the shelf" in outcome.output


def test_every_shape_is_described_alike() -> None:
    crews = {
        crew.crew: crew
        for name in ("classic", "defined", "flowing", "declared")
        for crew in inspection.inspect(project(name), {}).crews
    }

    classic, defined, flow = crews["tea_room"], crews["defined"], crews["tea_flow"]
    assert (classic.kind, classic.process, list(classic.inputs)) == (
        "crew",
        "sequential",
        ["guest", "room"],
    )
    (greet, pour) = classic.tasks
    assert (greet.task_type, greet.agent, list(greet.tools)) == ("greet", "host", ["kettle"])
    assert (list(pour.depends_on), list(pour.agents)) == (["greet"], [])
    assert (list(defined.inputs), list(defined.agents)) == (["reader"], ["taster"])
    assert [list(task.depends_on) for task in defined.tasks] == [[], ["taste"]]
    assert (flow.kind, flow.description) == ("flow", "Blend what was ordered.")
    assert [task.task_type for task in flow.tasks] == ["tea_flow"]
    assert crews["declared"].description == "A flow without a line of Python."


def test_what_would_be_otherwise_is_told() -> None:
    found = [f"{f.level}: {f.message}" for f in inspection.inspect(project("classic"), {}).findings]

    for told in (
        "needs: TEA_ROOM_KEY",
        "needs: KETTLE_KEY does not reach it: set it, and add the project with --env KETTLE_KEY",
        "change: max_rpm",
        "change: verbose",
        "change: output_file 'cup.md'",
        "change: gpt",
    ):
        assert any(each.startswith(told) for each in found), (told, found)


def test_keys_that_are_set_and_models_that_are_configured_are_not_missed() -> None:
    environ = {"MODEL": "openai/gpt-4o-mini", "OPENAI_API_KEY": "k", "TEA_ROOM_KEY": "k"}
    classic = inspection.inspect(project("classic"), environ).findings
    defined = inspection.inspect(project("defined"), environ)

    assert [each.message for each in classic if each.level == "needs"] == [
        "KETTLE_KEY does not reach it: set it, and add the project with --env KETTLE_KEY"
    ]
    (problem,) = defined.problems
    assert "anthropic" in problem.message.lower(), "its client is not installed here"


def test_a_crew_that_cannot_be_made_is_a_problem_and_the_others_are_described() -> None:
    brought = project("flowing", blend_crew="tea_flow.crews.blend_crew.blend_crew:BlendCrew")
    broken = replace(brought, crews={**brought.crews, "lost": "tea_absent.crew:Lost"})

    found = inspection.inspect(broken, {})

    assert [crew.crew for crew in found.crews] == ["blend_crew"]
    (problem,) = found.problems
    assert problem.where == "lost"
    assert "uv pip install" in problem.message


def test_a_kickoff_that_blocks_an_async_step_is_told(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(
        "from crewai.flow.flow import Flow, start\n"
        "class Steps(Flow):\n"
        "    @start()\n"
        "    async def one(self):\n"
        "        await self.crew().akickoff()\n"
        "        self.crew().kickoff()\n"
    )
    found = inspection.inspect(project(str(tmp_path)), {})

    assert [(each.where, "async def one" in each.message) for each in found.problems] == [
        ("main.py, line 6", True)
    ]


def test_projects_may_have_modules_of_one_name(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "shelf").mkdir(parents=True)
        (tmp_path / name / "shelf" / "leaf.py").write_text(f"WHOSE = {name!r}\n")
    seen = []
    for name in ("one", "two", "one"):
        with importable([str(tmp_path / name)]):
            import shelf.leaf  # type: ignore[import-not-found] # noqa: PLC0415 - made above

            seen.append((shelf.leaf.WHOSE, sys.modules["shelf.leaf"]))

    assert [whose for whose, _ in seen] == ["one", "two", "one"]
    assert seen[0][1] is seen[2][1], "what a project has loaded is not loaded again"


def test_a_model_that_is_built_by_name_stands_in_only_within_its_run() -> None:
    with standing_in(lambda name: OfflineModel() if name == "groq/x" else None):
        assert isinstance(LLM(model="groq/x"), OfflineModel)
        assert not isinstance(LLM(model="openai/gpt-4o"), OfflineModel)
    with pytest.raises(ImportError):
        LLM(model="groq/x")


def test_crewai_still_has_what_flows_and_definitions_lean_on() -> None:
    """A guard: when one of these goes, it says which, before a run does."""
    from crewai.flow.async_feedback.types import HumanFeedbackPending  # noqa: PLC0415
    from crewai.hooks.contexts import ExecutionStartContext  # noqa: PLC0415
    from crewai.project.json_loader import JSONCrewProject  # noqa: PLC0415

    assert "context" in signature(HumanFeedbackPending).parameters, "flows.kickoff reads it"
    assert "crew" in ExecutionStartContext.__dataclass_fields__, "flows prepare a step's crew by it"
    assert "agent_names" in JSONCrewProject.__dataclass_fields__, "loading names agents by it"
    assert next(iter(signature(LLM).parameters)) == "model", "standin asks by it"
