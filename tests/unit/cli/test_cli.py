"""The command line: what it says, what it exits with, without any server."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crewstream.analytics.library import queries
from crewstream.cli import doctor, follow
from crewstream.cli import main as cli
from crewstream.contracts.codec import Codec
from crewstream.contracts.schemas import Schemas
from crewstream.contracts.topics import Topics
from crewstream.records import Inbound

NOWHERE = "127.0.0.1:9"
Run = Callable[..., "Ran"]


class Ran:
    """What a call left behind."""

    def __init__(self, code: object, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Calls the command line as a user does, with no server anywhere."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("CREWSTREAM_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "KAFKA_BOOTSTRAP": NOWHERE,
        "STATUS_URL": f"http://{NOWHERE}",
        "REDIS_URL": f"redis://{NOWHERE}/0",
        "CLICKHOUSE_DSN": f"http://{NOWHERE}",
        "PROJECTS": str(tmp_path / "projects.yaml"),
    }.items():
        monkeypatch.setenv(f"CREWSTREAM_{name}", value)

    def call(*arguments: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["crewstream", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        told = capsys.readouterr()
        return Ran(ended.value.code or 0, told.out, told.err)

    return call


def test_help_names_every_verb(run: Run) -> None:
    told = run("--help")
    assert told.code == 0
    for verb in (
        *("submit", "status", "list", "command", "results", "tail", "query", "sql", "advise"),
        *("analytics", "topics", "schemas", "projects", "doctor", "report"),
        *("coordinator", "worker", "recorder", "projector"),
    ):
        assert f" {verb} " in told.out


def test_python_dash_m_works() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "crewstream", "--help"], capture_output=True, text=True, check=True
    )
    assert "exactly accounted" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["status", "w"], "CREWSTREAM_STATUS_URL"),
        (["list"], "crewstream projector"),
        (["command", "w", "pause"], NOWHERE),
        (["topics", "plan"], NOWHERE),
        (["tail", "metrics", "--from-beginning", "--no-follow"], NOWHERE),
        (["results", "--project", "bizoholic"], NOWHERE),
        (["results", "--project", "nowhere"], "known: bizoholic"),
        (["sql", "SELECT 1"], NOWHERE),
        (["report", "--out", "never.html"], NOWHERE),
        (["report", "--since", "1h", "--until", "2h"], "no time at all"),
        (["recorder", "reingest", "--topic", "metrics"], "an offset or a time"),
        (["recorder", "reingest", "--topic", "metrics", "--since", "1h"], NOWHERE),
        (["query", "nope"], "no query 'nope'; there are: agents"),
        (["query", "cost", "--param", "dayz=1"], "no parameter 'dayz'"),
        (["query", "forecast", "--param", "metric=x"], "metric is one of tasks, mean_s"),
        (["query", "cost", "--csv"], NOWHERE),
        (["advise"], NOWHERE),
        (["analytics", "status"], NOWHERE),
    ],
)
def test_what_fails_is_one_line_and_exit_code_1(run: Run, arguments: list[str], names: str) -> None:
    told = run(*arguments)
    assert (told.code, told.out) == (1, "")
    [line] = told.err.splitlines()
    assert line.startswith("crewstream: ")
    assert names in line


@pytest.mark.parametrize(
    "arguments",
    [
        ["submit", "/nope"],
        ["command", "w", "explode"],
        ["tail", "nope"],
        ["query"],
        ["query", "cost", "--param", "days"],
        ["query", "cost", "--csv", "--json"],
        ["query", "stuck", "--plot"],
        ["list", "--limit", "0"],
        ["schemas", "register"],
    ],
)
def test_wrong_use_is_exit_code_2(run: Run, arguments: list[str]) -> None:
    told = run(*arguments)
    assert told.code == 2
    assert told.err


def test_a_setting_that_cannot_be_used_is_exit_code_2(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREWSTREAM_HTTP_PORT", "x")
    told = run("list")
    assert told.code == 2
    assert "CREWSTREAM_HTTP_PORT" in told.err


def test_an_unknown_setting_is_warned_about(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREWSTREAM_TENNANT", "x")
    assert "did you mean CREWSTREAM_TENANT?" in run("list").err


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_request_that_is_no_json_object_is_refused(run: Run, content: str) -> None:
    Path("request.json").write_text(content)
    told = run("submit", "request.json")
    assert told.code == 2
    assert "request.json" in told.err


def test_the_ready_made_queries_are_listed(run: Run) -> None:
    found = json.loads(run("query", "--list", "--json").out)
    assert [each["query"] for each in found] == list(queries())


def test_a_query_is_described_with_its_parameters_and_its_sql(run: Run) -> None:
    told = run("query", "forecast", "--describe").out
    assert "One of: tasks, mean_s, cost_usd, slots." in told
    assert "seriesDecomposeSTL" in told
    found = json.loads(run("query", "forecast", "--describe", "--json").out)
    assert [each["name"] for each in found["parameters"]][:2] == ["metric", "horizon"]


def test_topics_are_rendered_for_strimzi(run: Run) -> None:
    told = run("topics", "render", "--cluster", "main")
    assert told.out.count("kind: KafkaTopic") == len(Topics.load().all())
    assert "strimzi.io/cluster: main" in told.out


def test_projects_are_shown(run: Run) -> None:
    found = json.loads(run("projects", "--json").out)
    assert {"bizoholic", "coreldove"} <= {each["project_id"] for each in found}
    assert "campaign_strategy" in run("projects").out


def test_a_table_that_is_piped_is_not_cut(run: Run) -> None:
    longest = max((each.about for each in queries().values()), key=len)
    assert longest in run("query", "--list").out


def test_doctor_says_what_to_do_and_fails(run: Run) -> None:
    told = run("doctor", "--json")
    assert told.code == 1
    found = {each["what"]: each for each in json.loads(told.out)}
    assert found["versions"]["ok"]
    assert found["registry"]["ok"]
    for what, word in {
        "kafka": NOWHERE,
        "redis": "CREWSTREAM_REDIS_URL",
        "status": "projector",
    }.items():
        assert not found[what]["ok"]
        assert word in found[what]["mend"]


def test_doctor_names_every_fault_of_models(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    file = tmp_path / "models.yaml"
    monkeypatch.setenv("CREWSTREAM_MODELS", str(file))
    file.write_text("routes: [{project: corldove, use: openai/gpt-4o}, {use: offline}]")

    def told() -> dict[str, Any]:
        found = json.loads(run("doctor", "--json").out)
        return next(each for each in found if each["what"] == "models")

    assert told()["found"] == "2 routes, 0 rates"
    assert "did you mean 'coreldove'?" in told()["mend"]
    assert "set OPENAI_API_KEY" in told()["mend"]
    file.write_text("routes: [{use: offlin}]")
    assert "did you mean" not in told()["mend"]
    assert "routes.0.use: no model 'offlin' under models" in told()["mend"]


def test_doctor_shows_no_password(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREWSTREAM_REDIS_URL", f"redis://me:hunter2@{NOWHERE}/0")
    told = run("doctor")
    assert f"redis://{NOWHERE}/0" in told.out
    assert "hunter2" not in told.out + told.err


async def test_doctor_outlives_what_does_not_answer() -> None:
    async def never() -> tuple[str, str]:
        await asyncio.sleep(60)
        return "", ""

    found = await doctor.look("x", "y", never(), patience_s=0.01)
    assert (found.found, found.ok) == ("no answer", False)


def test_what_cannot_be_decoded_is_shown_as_such() -> None:
    codec = Codec(Schemas.load())
    garbage = Inbound("t", 0, 7, b"\xff", b"garbage", [("h", b"\xfe")], 0)
    told = follow.described(codec, garbage)
    assert told["bytes"] == 7
    assert "framing" in told["undecodable"]
    assert json.dumps(told)
    tombstone = Inbound("t", 0, 8, b"k", None, [], 0)
    assert follow.described(codec, tombstone)["event"] is None
