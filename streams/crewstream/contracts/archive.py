"""The files of a backup: Avro object containers that any Avro tool reads, written piece by piece.

One file a partition, with the records as they were; one with Redis' keys.
Source: https://avro.apache.org/docs/1.12.0/specification/#object-container-files
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import fastavro

from crewstream.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

Entry = dict[str, Any]

HEADER: Mapping[str, Any] = {
    "type": "record",
    "name": "Header",
    "fields": [
        {"name": "name", "type": "string"},
        {"name": "value", "type": ["null", "bytes"]},
    ],
}
RECORD: Mapping[str, Any] = {
    "type": "record",
    "namespace": "crewstream.backup",
    "name": "Record",
    "doc": "A record of Kafka as it was; timestamp in ms since 1970.",
    "fields": [
        {"name": "offset", "type": "long"},
        {"name": "timestamp_ms", "type": "long"},
        {"name": "key", "type": ["null", "bytes"]},
        {"name": "value", "type": ["null", "bytes"]},
        {"name": "headers", "type": {"type": "array", "items": HEADER}},
    ],
}
KEY: Mapping[str, Any] = {
    "type": "record",
    "namespace": "crewstream.backup",
    "name": "Key",
    "doc": "A key of Redis: its type, how long it had to live (-1: for ever), what it holds, flat.",
    "fields": [
        {"name": "key", "type": "bytes"},
        {"name": "type", "type": "string"},
        {"name": "ttl_ms", "type": "long"},
        {"name": "items", "type": {"type": "array", "items": "bytes"}},
    ],
}

CODEC, LEVEL = "deflate", 1
_PIECE = 1024 * 1024


def append(path: Path, schema: Mapping[str, Any], entries: Sequence[Entry]) -> None:
    """Put entries behind those of a file, which is made when it is not there."""
    with path.open("a+b") as file:
        fastavro.writer(file, dict(schema), entries, codec=CODEC, codec_compression_level=LEVEL)


def entries(path: Path) -> Iterator[Entry]:
    """The entries of a file, one at a time. Raises Invalid: it is no such file, or is cut."""
    try:
        with path.open("rb") as file:
            for entry in fastavro.reader(file):
                assert isinstance(entry, dict)  # noqa: S101  (both schemas are records)
                yield entry
    except (OSError, ValueError, EOFError, LookupError) as error:
        raise Invalid(f"{path} cannot be read: {error!r}") from error


def sha256(path: Path) -> str:
    """Hash of a file's bytes. Raises Invalid: it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error}") from error
    return digest.hexdigest()
