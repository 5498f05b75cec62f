"""The files of a backup read back as they were written, and damage is found."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crewstream.contracts import archive, manifest
from crewstream.contracts.manifest import Manifest, Partition
from crewstream.errors import Invalid

NOW = datetime(2026, 1, 2, tzinfo=UTC)
MAYBE = st.none() | st.binary(max_size=50)
LONG = st.integers(0, 2**62)
RECORDS = st.fixed_dictionaries(
    {
        "offset": LONG,
        "timestamp_ms": LONG,
        "key": MAYBE,
        "value": MAYBE,
        "headers": st.lists(
            st.fixed_dictionaries({"name": st.text(max_size=9), "value": MAYBE}), max_size=3
        ),
    }
)


@settings(max_examples=30)
@given(pieces=st.lists(st.lists(RECORDS, max_size=4), max_size=4))
def test_records_read_back_in_order_whatever_the_pieces(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[list[archive.Entry]]
) -> None:
    path = tmp_path_factory.mktemp("archive") / "topic-0.avro"
    archive.append(path, archive.RECORD, [])
    for piece in pieces:
        archive.append(path, archive.RECORD, piece)
    assert list(archive.entries(path)) == [entry for piece in pieces for entry in piece]


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    key = {"key": b"k", "type": "string", "ttl_ms": -1, "items": [b"v"]}
    archive.append(tmp_path / "redis.avro", archive.KEY, [key] * 100)
    archive.append(tmp_path / "t-0.avro", archive.RECORD, [])
    file = manifest.described(tmp_path, "t-0.avro", 0)
    found = Manifest(
        crewstream="1",
        prefix="c",
        cluster="x",
        began_at=NOW,
        ended_at=NOW,
        topics={"t": 1},
        partitions=(Partition(**file.model_dump(), topic="t", partition=0, start=0, end=0),),
        positions=(),
        keys=manifest.described(tmp_path, "redis.avro", 100),
    )
    manifest.write(tmp_path, found)
    return tmp_path


def test_a_manifest_reads_back_and_its_files_are_whole(backup: Path) -> None:
    found = manifest.read(backup)
    manifest.verify(backup, found)
    assert (found.keys.entries, found.topics) == (100, {"t": 1})
    assert {path.name for path in backup.iterdir()} == {"manifest.json", "redis.avro", "t-0.avro"}


def test_a_byte_that_changed_and_a_file_that_is_gone_are_named(backup: Path) -> None:
    found = manifest.read(backup)
    data = bytearray((backup / "redis.avro").read_bytes())
    data[-20] ^= 1
    (backup / "redis.avro").write_bytes(data)
    (backup / "t-0.avro").unlink()
    with pytest.raises(Invalid, match=r"damaged: t-0.avro, redis.avro"):
        manifest.verify(backup, found)


def test_a_cut_file_cannot_be_read(backup: Path) -> None:
    path = backup / "redis.avro"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(Invalid, match="cannot be read"):
        list(archive.entries(path))


def test_a_folder_without_a_manifest_is_no_backup(backup: Path) -> None:
    (backup / manifest.NAME).unlink()
    with pytest.raises(Invalid, match="no whole backup"):
        manifest.read(backup)
    (backup / manifest.NAME).write_text('{"format": 2}')
    with pytest.raises(Invalid, match="no manifest that this version reads"):
        manifest.read(backup)
