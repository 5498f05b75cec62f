"""What a folder or module holds is found from its files: nothing of it is run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from crewstream_agents.conventions import Step, depends_on
from crewstream_agents.project import InvalidProject
from crewstream_agents.sources import detect, files, identifier
from support.brought import BROUGHT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@pytest.mark.parametrize(
    ("folder", "project_id", "crews"),
    [
        ("classic", "tea-room", {"tea_room": "tea_room.crew:TeaRoom"}),
        ("defined", "defined", {"defined": "crew.jsonc"}),
        ("declared", "declared", {"declared": "flow.yaml"}),
        ("dated", "dated", {"make_kitchen": "kitchen:make_kitchen"}),
        (
            "flowing",
            "tea-flow",
            {
                "blend_crew": "tea_flow.crews.blend_crew.blend_crew:BlendCrew",
                "tea_flow": "tea_flow.main:TeaFlow",
            },
        ),
    ],
)
def test_every_shape_of_project_is_found(
    folder: str, project_id: str, crews: Mapping[str, str]
) -> None:
    found = detect(str(BROUGHT / folder))

    assert (found.project_id, found.crews) == (project_id, crews)
    assert found.folder == str(BROUGHT / folder)


def test_a_src_folder_comes_first_and_a_crews_own_package_last() -> None:
    found = detect(str(BROUGHT / "classic"))

    root = str(BROUGHT / "classic" / "src")
    assert (list(found.paths), list(found.late_paths)) == (
        [root, str(BROUGHT / "classic")],
        [f"{root}/tea_room"],
    )


def test_a_definition_can_be_named_by_itself() -> None:
    assert detect(str(BROUGHT / "declared" / "flow.yaml")).crews == {"declared": "flow.yaml"}


def test_a_module_is_found_where_it_is_installed_or_where_one_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert detect("crewsample").crews == {"quotes_crew": "crewsample.crew:QuotesCrew"}

    monkeypatch.chdir(BROUGHT / "dated")
    found = detect("kitchen:make_kitchen")
    assert (found.crews, found.paths) == (
        {"make_kitchen": "kitchen:make_kitchen"},
        [str(BROUGHT / "dated")],
    )


def test_what_is_named_by_hand_wins() -> None:
    crews = {"menu": "kitchen:make_menu"}
    found = detect(str(BROUGHT / "dated"), crews=crews, project_id="k", title="Kitchen")

    assert (found.crews, found.project_id, found.title) == (crews, "k", "Kitchen")


def test_of_two_crews_with_one_name_both_are_kept(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.py").write_text("@CrewBase\nclass MyCrew: ...\n")

    assert detect(str(tmp_path)).crews == {"my_crew": "a:MyCrew", "b_my_crew": "b:MyCrew"}


def test_tests_environments_and_broken_files_are_passed_over(tmp_path: Path) -> None:
    for folder in ("tests", ".hidden", "own-env"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "crew.py").write_text("@CrewBase\nclass Wrong: ...\n")
    (tmp_path / "own-env" / "pyvenv.cfg").touch()
    (tmp_path / "broken.py").write_text("def (")
    (tmp_path / "crew.py").write_text("class Right(Flow[State]): ...\n")

    assert detect(str(tmp_path)).crews == {"right": "crew:Right"}


def test_a_crew_of_a_module_is_found_unless_the_module_runs_it(tmp_path: Path) -> None:
    made = "trip = Crew(agents=[], tasks=[])\n"
    (tmp_path / "quiet.py").write_text(made + "if __name__ == '__main__':\n    trip.kickoff()\n")
    (tmp_path / "script.py").write_text(made + "result = trip.kickoff()\n")
    (tmp_path / "shown.py").write_text(made + "print(trip.kickoff())\n")

    assert detect(str(tmp_path)).crews == {"trip": "quiet:trip"}


def test_data_is_no_reason_to_refuse_a_project_but_a_home_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crewstream_agents.sources.MOST_FILES", 2)
    for name in ("a.csv", "b.csv", "c.csv", "one.py", "two.py"):
        (tmp_path / name).touch()
    assert [path.name for path in files(tmp_path)] == ["one.py", "two.py"]

    (tmp_path / "three.py").touch()
    with pytest.raises(InvalidProject, match="more than 2 files"):
        detect(str(tmp_path))


@pytest.mark.parametrize(
    ("source", "fault"),
    [("", "no @CrewBase class"), ("nowhere_at_all", "neither a folder nor a module")],
)
def test_where_there_is_nothing_to_run_it_is_said_how_to_name_it(
    source: str, fault: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidProject, match=fault):
        detect(source or str(tmp_path))


@pytest.mark.parametrize(
    ("name", "made"),
    [("LatestAiCrew", "latest_ai_crew"), ("latest-ai", "latest_ai"), ("AICrew 2", "ai_crew_2")],
)
def test_names_become_identifiers(name: str, made: str) -> None:
    assert identifier(name) == made


def test_context_is_what_crewai_hands_on() -> None:
    steps = [
        Step("a"),
        Step("b", at_once=True),
        Step("c", at_once=True, context=["a"]),
        Step("d"),
        Step("e", context=[]),
    ]

    assert depends_on(steps) == {
        "a": [],
        "b": ["a"],
        "c": ["a"],
        "d": ["a", "b", "c"],
        "e": [],
    }
