"""What `crewstream restore` refuses before it touches anything."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from crewstream.cli import main as cli
from crewstream.contracts import archive, manifest
from crewstream.contracts.manifest import Manifest
from crewstream.contracts.topics import Topics

NOW = datetime(2026, 1, 2, tzinfo=UTC)
Run = Callable[..., tuple[object, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("CREWSTREAM_KAFKA_BOOTSTRAP", "127.0.0.1:9")

    def call(*words: str) -> tuple[object, str]:
        monkeypatch.setattr(sys, "argv", ["crewstream", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, capsys.readouterr().err

    return call


def backup(folder: Path, *, prefix: str = "crewstream", more: int = 0) -> Path:
    archive.append(folder / "redis.avro", archive.KEY, [])
    topics = {topic.name: topic.partitions + more for topic in Topics.load().all()}
    found = Manifest(
        crewstream="1",
        prefix=prefix,
        cluster="x",
        began_at=NOW,
        ended_at=NOW,
        topics=topics,
        partitions=(),
        positions=(),
        keys=manifest.described(folder, "redis.avro", 0),
    )
    manifest.write(folder, found)
    return folder


def test_a_folder_without_a_manifest_is_no_backup(run: Run, tmp_path: Path) -> None:
    code, told = run("restore", "--from", str(tmp_path))
    assert code == 1
    assert "holds no whole backup" in told


def test_the_backup_of_another_installation_is_wrong_use(run: Run, tmp_path: Path) -> None:
    code, told = run("restore", "--from", str(backup(tmp_path, prefix="other")))
    assert code == 2
    assert "set CREWSTREAM_PREFIX" in told


def test_other_partition_counts_are_named(run: Run, tmp_path: Path) -> None:
    code, told = run("restore", "--from", str(backup(tmp_path, more=1)))
    assert code == 1
    assert "crewstream.workflow.state had 9 partitions, topics.yaml has 8" in told


def test_a_damaged_file_is_named(run: Run, tmp_path: Path) -> None:
    folder = backup(tmp_path)
    (folder / "redis.avro").write_bytes(b"?")
    code, told = run("restore", "--from", str(folder))
    assert code == 1
    assert "damaged: redis.avro" in told


@pytest.mark.parametrize("words", [("rebuild", "status"), ("backup", "--out", "b")])
def test_a_kafka_that_is_away_is_one_sentence(
    run: Run, words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, told = run(*words)
    assert code == 1
    assert "Kafka at 127.0.0.1:9 does not answer" in told
    assert list(tmp_path.iterdir()) == []
