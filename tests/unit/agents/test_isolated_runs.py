"""What runs of one process share, in each of the ways in which they are kept apart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import crewkeeper
import pytest
from crewai import Agent, Crew, Task
from crewai.tools import BaseTool
from crewkeeper import crew as keeper
from crewkeeper.crew import assign
from crewsample.model import ScriptedModel
from typing_extensions import override

from crewstream_agents.belongings import own_tools
from crewstream_agents.folder import run_folder
from crewstream_agents.isolation import isolate
from crewstream_agents.models import own_counters
from crewstream_agents.project import COPY, FRESH, InvalidProject
from crewstream_agents.run import Run
from crewstream_agents.spec import CrewOutcome, CrewTask, Status, WrittenFile
from crewstream_agents.templates import Templates

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*prevent checkpointing:UserWarning"),
]

KEEP = CrewTask(
    assignment_id="w/t/1",
    workflow_id="w",
    task_id="t",
    attempt=1,
    tenant_id="acme",
    project_id="keeper",
    crew="keep",
    task_type="",
    inputs={"what": "words", "calls": [["note", {"word": "secret of acme"}]]},
    deadline_s=20.0,
)


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    isolate()
    keeper.LEDGER.clear()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "runs"))


async def execute(templates: Templates, task: CrewTask) -> CrewOutcome:
    outcome = await Run(task).execute(templates, assign, {})
    assert outcome.status is Status.SUCCEEDED, outcome.failure
    return outcome


async def second_of_two(isolation: str) -> dict[str, Any]:
    """What the second of two runs finds that the first left."""
    templates = Templates({"keeper": crewkeeper.PROJECT})
    await execute(templates, replace(KEEP, isolation=isolation))
    found: dict[str, Any] = json.loads(
        (await execute(templates, replace(KEEP, isolation=isolation, tenant_id="other"))).output
    )
    return found


async def test_copies_of_a_crew_share_its_own_objects_and_its_module_but_not_its_tools() -> None:
    found = await second_of_two(COPY)

    assert found == {
        "uses": 1,
        "tool": [],
        "crew": ["secret of acme"],
        "module": ["secret of acme"],
    }


async def test_a_fresh_crew_shares_its_module_only() -> None:
    found = await second_of_two(FRESH)

    assert found == {"uses": 1, "tool": [], "crew": [], "module": ["secret of acme"]}


async def test_a_project_says_how_its_runs_are_kept_apart_and_a_task_overrules_it() -> None:
    project = replace(crewkeeper.PROJECT, isolation={"keep": FRESH})
    templates = Templates({"keeper": project})

    fresh = [await templates.of(KEEP) for _ in range(2)]
    copied = [await templates.of(replace(KEEP, isolation=COPY)) for _ in range(2)]

    assert fresh[0] is not fresh[1]
    assert copied[0] is copied[1]


def test_an_isolation_that_there_is_not_is_refused() -> None:
    with pytest.raises(InvalidProject, match="'nope' for crew 'keep': it can be copy, fresh, proc"):
        replace(crewkeeper.PROJECT, isolation="nope").isolation_of("keep")


def crew_of(*tools: BaseTool, llm: ScriptedModel | None = None) -> Crew:
    model = llm or ScriptedModel(model="scripted/x")
    staff: list[Any] = [
        Agent(role=role, goal="g", backstory="b", llm=model, tools=list(tools)) for role in "ab"
    ]
    tasks = [
        Task(description=one.role, expected_output="e", agent=one, tools=list(tools))
        for one in staff
    ]
    return Crew(agents=staff, tasks=tasks)


def held_by(crew: Crew) -> list[Any]:
    holders: list[Any] = [*crew.agents, *crew.tasks]
    return [tool for holder in holders for tool in holder.tools or ()]


def test_a_tool_that_two_agents_share_is_one_tool_in_the_copy() -> None:
    notebook = keeper.Notebook()
    original = keeper.Note(notebook=notebook, pages=["printed"])
    crew = crew_of(original).copy()

    own_tools(crew)

    held = held_by(crew)
    assert len({id(tool) for tool in held}) == 1
    assert held[0] is not original
    held[0].run(word="w")
    assert (original.current_usage_count, original.pages) == (0, ["printed"])
    assert held[0].notebook is notebook


def test_nested_collections_of_a_tool_are_its_own() -> None:
    class Shelf(BaseTool):
        name: str = "shelf"
        description: str = "d"
        books: dict[str, list[set[str]]]

        @override
        def _run(self) -> str:
            return ""

    original = Shelf(books={"a": [{"x"}]})
    crew = crew_of(original)
    own_tools(crew)

    held_by(crew)[0].books["a"][0].add("y")

    assert original.books == {"a": [{"x"}]}


def test_what_agents_use_is_counted_once_though_they_share_a_model() -> None:
    model = ScriptedModel(model="scripted/x")
    model._track_token_usage_internal({"prompt_tokens": 5})  # noqa: SLF001 - of an earlier run
    crew = crew_of(llm=model)

    own_counters(crew)
    result: Any = crew.kickoff()

    assert result.token_usage.successful_requests == 0  # the scripted model tracks nothing itself
    crew.agents[0].llm._track_token_usage_internal({"prompt_tokens": 7})  # type: ignore[union-attr] # noqa: SLF001
    assert crew.calculate_usage_metrics().prompt_tokens == 7
    assert model.get_token_usage_summary().prompt_tokens == 5


async def test_an_output_file_is_written_into_the_folder_of_the_run(tmp_path: Path) -> None:
    seen: list[Path] = []

    class Spying(BaseTool):
        name: str = "spy"
        description: str = "d"

        @override
        def _run(self) -> str:
            seen.append(run_folder())
            (run_folder() / "mine.txt").write_text("from a tool")
            return "spied"

    def assigning(crew: Crew, task: CrewTask, environ: Any) -> Any:
        crew.agents[0].tools = crew.tasks[0].tools = [Spying()]
        return assign(crew, task, environ)

    task = replace(KEEP, inputs={"what": "../../etc/passwd", "calls": [["spy", {}]]})
    run = Run(task)
    outcome = await run.execute(Templates({"keeper": crewkeeper.PROJECT}), assigning, {})

    assert outcome.status is Status.SUCCEEDED, outcome.failure
    assert list(outcome.files) == [
        WrittenFile("kept/_.._etc_passwd.txt", len("spied")),
        WrittenFile("mine.txt", len("from a tool")),
    ]
    assert seen[0].is_relative_to(tmp_path / "runs")
    assert not seen[0].exists()  # nobody waits for this loop
    assert not any(path.is_file() for path in tmp_path.rglob("*"))  # noqa: ASYNC240 - as above


def test_there_is_no_folder_of_a_run_outside_of_one() -> None:
    with pytest.raises(LookupError, match="no run"):
        run_folder()
