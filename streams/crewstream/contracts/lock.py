"""How a changed .avsc is released: a next version in the history and an id in the lock."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from crewstream.contracts.avsc import read_avsc, sha256
from crewstream.contracts.schemas import FIRST_ID, HISTORY, LOCK, read_history, read_lock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from crewstream.contracts.avsc import Schema

Lock = dict[str, dict[str, dict[str, Any]]]


def lock(avro: Path, subjects: Mapping[str, str]) -> list[str]:
    """Release every .avsc that differs from its newest version; returns what was added, in words.

    `subjects` is subject -> record name, see `Topics.subjects`. History and lock are appended to,
    never rewritten. Judge the new versions with `schema_rules` first.
    """
    before = read_history(avro)
    added = []
    for record, schema in read_avsc(avro).items():
        versions = before.get(record, ())
        if not versions or versions[-1] != schema:
            _write(avro / HISTORY / record / f"{len(versions) + 1}.avsc", schema)
            added.append(f"{record} version {len(versions) + 1}")
    known = read_lock(avro)
    grown = appended(known, subjects, read_history(avro))
    if grown != known:
        _write(avro / LOCK, {"subjects": grown})
        added += [f"subject {subject}" for subject in sorted(grown.keys() - known.keys())]
    return added


def appended(
    known: Lock,
    subjects: Mapping[str, str],
    history: Mapping[str, Sequence[Schema]],
) -> Lock:
    """The lock with every version of every subject's record in it; what is known stays as it is."""
    entries = [entry for versions in known.values() for entry in versions.values()]
    ids = {(entry["record"], entry["sha256"]): entry["id"] for entry in entries}
    grown = {subject: dict(versions) for subject, versions in known.items()}
    for subject, record in subjects.items():
        versions = grown.setdefault(subject, {})
        for number, schema in enumerate(history.get(record, ()), 1):
            digest = sha256(schema)
            next_id = max(ids.values(), default=FIRST_ID - 1) + 1
            entry = {"id": ids.setdefault((record, digest), next_id)}
            versions.setdefault(str(number), entry | {"record": record, "sha256": digest})
    return grown


def _write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
