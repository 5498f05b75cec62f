"""Schedules of projects' folders: read, checked, and compared with those that stand."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from crewstream.app import describe_projects
from crewstream.app.schedules import Change, changes, in_folders
from crewstream.contracts.topics import Topics
from crewstream.domain import schedule
from crewstream.domain.plan import Rules
from crewstream.errors import Misconfigured
from crewstream_agents import registry
from crewstream_agents.registry import InvalidProject, Project, Schedule

TOPICS = Topics.load()
GOOD = """
cron: 0 7 * * 1-5
request:
  tasks: [{task_id: a, crew: c}]
"""


def project(folder: Path, monkeypatch: pytest.MonkeyPatch, **files: str) -> Project:
    """A project whose one crew's module, which must not be run, has these files beside it."""
    package = folder / f"pkg{abs(hash(folder))}"
    (package / "schedules").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "crew.py").write_text("raise AssertionError('imported')")
    for name, text in files.items():
        (package / "schedules" / f"{name}.yaml").write_text(text)
    monkeypatch.syspath_prepend(folder)
    return Project("coreldove", "Coreldove", {"c": f"{package.name}.crew:C"})


def test_a_file_is_a_schedule_that_is_named_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = registry.schedules(project(tmp_path, monkeypatch, b=GOOD, a=GOOD))
    request = {"tasks": [{"task_id": "a", "crew": "c"}]}
    assert found == [Schedule(name, "0 7 * * 1-5", request) for name in "ab"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("cron: * * * * *", "is not YAML"),
        ("just words", "has to be a mapping"),
        ("request: {}", "cron is unknown, or missing"),
        (GOOD + "colour: red\n", "colour is unknown, or missing"),
        ("cron: 5\nrequest: {}", "cron has to be a str, not 5"),
        (GOOD + 'enabled: "no"\n', "enabled has to be a bool, not 'no'"),
        ("cron: 0 7 * * *\nrequest: []", r"request has to be a dict, not \[\]"),
    ],
)
def test_a_file_that_is_no_schedule_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, told: str
) -> None:
    with pytest.raises(InvalidProject, match=told) as caught:
        registry.schedules(project(tmp_path, monkeypatch, bad=text))
    assert "bad.yaml" in str(caught.value)


def test_the_schedules_that_are_shipped_can_run() -> None:
    found = in_folders(TOPICS, "acme", TOPICS.projects)
    crews = {
        each.project_id: {
            crew.crew: frozenset(t.task_type for t in crew.tasks) for crew in each.crews
        }
        for each in describe_projects()
    }
    assert "bizoholic.monday-performance" in found
    for event in found.values():
        assert schedule.faults(event, Rules(crews), datetime.now(UTC)) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (GOOD.replace("0 7", "0 99"), "bad hour"),
        (GOOD + "missed: often\n", "'often' is not a valid Missed"),
        (GOOD.replace("crew: c", "colour: c"), "colour is unknown"),
        ("cron: nonsense", "cron is|request is unknown, or missing"),
    ],
)
def test_a_folders_schedule_that_cannot_be_taken_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, told: str
) -> None:
    made = project(tmp_path, monkeypatch, odd=text)
    monkeypatch.setattr(registry, "projects", lambda _: {"coreldove": made})
    with pytest.raises(Misconfigured, match=told) as caught:
        in_folders(TOPICS, "acme", ["coreldove"])
    assert "odd" in str(caught.value)


def test_only_what_differs_is_done_and_what_has_no_file_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    off = GOOD + "enabled: false\n"
    made = project(tmp_path, monkeypatch, new=GOOD, same=GOOD, other=GOOD, off=off)
    monkeypatch.setattr(registry, "projects", lambda _: {"coreldove": made})
    of = ["coreldove"]
    wanted = in_folders(TOPICS, "acme", of)
    rows = {name: schedule.define(None, event) for name, event in wanted.items()}
    row = rows["coreldove.same"]
    standing = [
        row,
        rows["coreldove.other"].changed({"cron": "0 8 * * *"}),
        row.changed({"schedule_id": "coreldove.off"}),
        row.changed({"schedule_id": "coreldove.gone"}),
        row.changed({"schedule_id": "coreldoves.of-nobody"}),
        row.changed({"schedule_id": "by-hand"}),
        row.changed({"schedule_id": "bizoholic.of-others"}),
    ]
    done = sorted((each.what, each.schedule_id) for each in changes(wanted, standing, of))
    assert done == [
        ("add", "coreldove.new"),
        ("change", "coreldove.other"),
        ("remove", "coreldove.gone"),
        ("remove", "coreldove.off"),
    ]
    assert list(changes(wanted, list(rows.values()), of)) == []
    assert Change("add", "coreldove.new", wanted["coreldove.new"]) in list(changes(wanted, [], of))
