"""What a worker gives its runners, and which projects have a process for each run."""

from __future__ import annotations

from pathlib import Path

import pytest

from crewstream import config
from crewstream.app import runners
from crewstream.config import Settings
from crewstream.contracts.limits import Limits
from crewstream_agents.environment import EVERYTHING, share_out
from crewstream_agents.project import SCOPED, Project

COPIED = Project("copied", "Copied", {"c": "m:C", "d": "m:D"})
APART = Project("apart", "Apart", {"c": "m:C"}, isolation="process", memory=SCOPED)
PROJECTS = {"copied": COPIED, "apart": APART}


def test_no_crew_reads_how_to_reach_our_servers_whatever_is_given_to_all(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("CREWSTREAM_KAFKA_PASSWORD=hush\nCRM_USER=of the file\n")
    monkeypatch.setenv("CREWSTREAM_REDIS_URL", "redis://:hush@there")
    monkeypatch.setenv("crewstream_clickhouse_dsn", "http://:hush@there")

    given = share_out(config.for_crews(), {}, [EVERYTHING]).common

    assert given["CRM_USER"] == "of the file"
    assert not any("hush" in value for value in given.values())


def test_limits_overrule_how_a_project_keeps_its_runs_apart() -> None:
    said = {"projects": {"copied": {"isolation": {"d": "process"}}, "apart": {"isolation": "copy"}}}

    assert runners.apart(PROJECTS, Limits()) == {"apart"}
    assert runners.apart(PROJECTS, Limits.model_validate(said)) == {"copied"}


def test_runners_may_write_to_memories_only_where_a_project_has_some() -> None:
    settings = Settings(runner_writable="/srv/out, /srv/cache")

    with_memory = runners._households(settings, PROJECTS, {}, "/memories")  # noqa: SLF001 - of `started`
    without = runners._households(settings, {"copied": COPIED}, {}, "/memories")  # noqa: SLF001 - the same

    assert (with_memory.writable, with_memory.shared) == (
        ("/srv/out", "/srv/cache"),
        ("/memories",),
    )
    assert without.shared == ()
