"""What is recorded once more, and by which address."""

from __future__ import annotations

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from crewstream.app import reingest as again
from crewstream.app.reingest import Wanted
from crewstream.config import load
from crewstream.contracts.topics import Topics
from crewstream.embedded import clickhouse_key as key
from crewstream.embedded.loopback import free_port
from crewstream.errors import Invalid

TOPICS = Topics.load(prefix="x")


def test_a_topic_is_known_with_and_without_its_prefix() -> None:
    for name in ("metrics", "x.metrics"):
        places = again.places(TOPICS, Wanted(name, from_offset=0))
        assert places[0] == ("x.metrics", 0)
        assert len(places) == TOPICS.partitions("x.metrics")
    one = again.places(TOPICS, Wanted("workflow.state", partition=1, since=datetime.now(UTC)))
    assert one == [("x.workflow.state", 1)]


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (Wanted("tasks", from_offset=0), "x.metrics, x.workflow.state, x.dead-letters"),
        (Wanted("", from_offset=0), "is not recorded"),
        (Wanted("metrics"), "an offset or a time"),
        (Wanted("metrics", from_offset=0, since=datetime.now(UTC)), "an offset or a time"),
        (Wanted("metrics", partition=99, from_offset=0), "partitions 0 to"),
    ],
)
def test_what_cannot_be_recorded_is_told(wanted: Wanted, told: str) -> None:
    with pytest.raises(Invalid, match=told):
        again.places(TOPICS, wanted)


def test_an_engine_at_work_is_written_to_through_its_port_with_its_key(tmp_path: Path) -> None:
    folder, port = str(tmp_path / "clickhouse"), free_port()
    made = key.make(folder)
    assert stat.S_IMODE((tmp_path / "clickhouse.key").stat().st_mode) == 0o600
    own = load(clickhouse_dsn=f"chdb://{folder}", clickhouse_port=port)
    assert again.writing(own) == f"chdb://{folder}", "nobody serves it: it is opened"
    served = load(clickhouse_dsn="http://127.0.0.1:8123/crewstream", data_dir=tmp_path)
    assert again.writing(served) == f"http://writer:{made}@127.0.0.1:8123/crewstream"
    server = load(clickhouse_dsn="http://me:pw@127.0.0.1:8123/db", data_dir=tmp_path)
    assert again.writing(server) == "http://me:pw@127.0.0.1:8123/db"
    elsewhere = load(clickhouse_dsn="http://clickhouse:8123", data_dir=tmp_path)
    assert again.writing(elsewhere) == "http://clickhouse:8123"


def test_each_start_has_a_key_of_its_own(tmp_path: Path) -> None:
    first = key.make(str(tmp_path / "a"))
    assert key.make(str(tmp_path / "a")) != first
    assert key.read(str(tmp_path / "b")) is None
