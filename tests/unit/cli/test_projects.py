"""A project is written, checked, added and removed from the command line, without any server."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from crewstream.cli import main as cli
from crewstream.contracts.topics import Topics
from crewstream_agents import book


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Calls the command line in an empty folder; Kafka is away."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CREWSTREAM_PROJECTS", str(tmp_path / "projects.yaml"))
    monkeypatch.setenv("CREWSTREAM_KAFKA_BOOTSTRAP", "127.0.0.1:9")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Run(monkeypatch, capsys)


class Run:
    """The command line; `out` and `err` are what the last call said."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys
        self.out = self.err = ""

    def __call__(self, *words: str) -> object:
        """The exit code."""
        self._monkeypatch.setattr(sys, "argv", ["crewstream", "projects", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        self.out, self.err = self._capsys.readouterr()
        return ended.value.code or 0


def test_a_new_project_is_added_as_it_was_written_and_removed(run: Run, tmp_path: Path) -> None:
    assert run("new", "tea_club", "--json") == 0
    assert "tea_club/src/tea_club/crew.py" in json.loads(run.out)
    assert run("new", "tea_club") == 2
    assert "exists already" in run.err

    assert run("add", "tea_club", "--title", "The club") == 0
    assert "inputs: topic" in run.out
    assert "task draft by writer, tools look_up" in run.out
    assert '"project_id": "tea-club"' in run.out
    assert "made by `crewstream up`" in run.out
    listed = tmp_path / "projects.yaml"
    assert book.read(listed)["tea-club"].title == "The club"
    assert "crewstream.tea-club.tasks" in [t.name for t in Topics.load(added=listed).all()]

    assert run() == 0
    assert "look_up" in run.out

    assert run("remove", "tea-club", "--json") == 0
    assert json.loads(run.out)["removed"] == "tea-club"
    assert "tea-club" not in Topics.load(added=listed).projects
    assert run("remove", "tea-club") == 2
    assert "there are: none" in run.err


def test_a_project_that_cannot_run_is_told_of_and_not_added(run: Run, tmp_path: Path) -> None:
    (tmp_path / "lost").mkdir()
    (tmp_path / "lost" / "crew.py").write_text(
        "import tea_leaves\nfrom crewai.project import CrewBase\n@CrewBase\nclass Lost: ...\n"
    )
    assert run("add", "lost", "--json") == 1
    told = json.loads(run.out)
    assert (told["added"], [each["level"] for each in told["findings"]]) == (False, ["problem"])
    assert "install tea_leaves" in told["findings"][0]["message"]
    assert not (tmp_path / "projects.yaml").exists()


def test_where_nothing_can_run_it_is_said_what_to_name(run: Run) -> None:
    assert run("check", "nowhere_at_all") == 2
    assert "neither a folder nor a module" in run.err
    assert run("check", ".", "--crew", "oops") == 2
    assert "NAME=module:name" in run.err
