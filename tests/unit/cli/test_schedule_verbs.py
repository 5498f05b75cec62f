"""What `crewstream schedule` refuses before anything is sent: there is no server anywhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from crewstream.cli.schedules import app
from crewstream.errors import InvalidRequest, InvalidSchedule


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "request.json"
    task = {"task_id": "a", "crew": "c"}
    path.write_text(json.dumps({"project_id": "bizoholic", "tasks": [task]}))
    return path


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--cron", "0 25 * * *"], "bad hour"),
        (["--cron", "0 7 * * *", "--timezone", "Mars/Base"], "is no time zone known here"),
        (["--cron", "* * * *"], "has not five fields"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(file: Path, options: list[str], told: str) -> None:
    found = CliRunner().invoke(app, ["add", "nightly", str(file), *options])
    assert isinstance(found.exception, InvalidSchedule)
    assert told in str(found.exception)


def test_a_request_that_cannot_be_is_refused(file: Path) -> None:
    file.write_text('{"project_id": "bizoholic", "colour": "red", "tasks": []}')
    found = CliRunner().invoke(app, ["add", "nightly", str(file), "--cron", "0 7 * * *"])
    assert isinstance(found.exception, InvalidRequest)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["add", "bizoholic.x", "FILE", "--cron", "0 7 * * *"], "schedule apply"),
        (["apply", "mars"], "no project mars in topics.yaml"),
    ],
)
def test_names_that_are_not_for_it_are_refused(file: Path, arguments: list[str], told: str) -> None:
    words = [str(file) if each == "FILE" else each for each in arguments]
    found = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    assert found.exit_code == 2
    assert told in found.output
