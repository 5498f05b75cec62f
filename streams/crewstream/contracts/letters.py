"""What the headers of a dead letter say, and the marks that are put behind it on its topic."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from crewstream.contracts.envelope import Header

MARK, OF, MARKED_AT = "x-dlq-mark", "x-dlq-of", "x-dlq-marked-at"
# Not x-dlq-…: these travel with the record, and stay when it becomes a dead letter once more.
REPLAYED_FROM, REPLAYS = "x-replayed-from", "x-replays"
_DLQ = "x-dlq-"


class Mark(StrEnum):
    """What was done about a letter."""

    REPLAYED = "replayed"
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True)
class Letter:
    """Where a record was and why it was given up; what its headers do not say is empty.

    `id` names the record that died: one that died twice in the same place is one letter, and it
    keeps its id when a backup brings it back to other offsets. `partition` is -1 when unknown.
    `size` is how many bytes the value had before it was cut, 0 when it is whole.
    """

    id: str
    topic: str
    partition: int
    offset: int
    error_type: str
    error: str
    schema_id: str
    failed_at: datetime | None
    tenant_id: str
    workflow_id: str
    replays: int
    size: int


def read(headers: Iterable[tuple[str, bytes | None]], position: str) -> Letter:
    """The letter that these headers are of; never raises. `position` names one without an origin.

    As elsewhere, the first of a repeated header counts, but what we add stands behind the rest.
    """
    text: dict[str, str] = {}
    for name, value in headers:
        if name.startswith(_DLQ) or name not in text:
            text[name] = (value or b"").decode("utf-8", "replace")
    return Letter(
        id=_id(text, position),
        topic=text.get("x-dlq-topic", ""),
        partition=_number(text.get("x-dlq-partition", ""), -1),
        offset=_number(text.get("x-dlq-offset", ""), -1),
        error_type=text.get("x-dlq-error-type", ""),
        error=text.get("x-dlq-error", ""),
        schema_id=text.get("x-dlq-schema-id", ""),
        failed_at=_time(text.get("x-dlq-failed-at", "")),
        tenant_id=text.get("x-tenant", ""),
        workflow_id=text.get("x-correlation-id", ""),
        replays=_number(text.get(REPLAYS, ""), 0),
        size=_number(text.get("x-dlq-truncated", ""), 0),
    )


def is_mark(headers: Iterable[tuple[str, bytes | None]]) -> bool:
    """Whether a record of the dead letters' topic is a mark, and so no letter."""
    return any(name == MARK for name, _ in headers)


def marked(headers: Iterable[tuple[str, bytes | None]]) -> tuple[str, Mark] | None:
    """The letter that a mark is about, and what was done; None: not a mark of ours."""
    text = {name: (value or b"").decode("utf-8", "replace") for name, value in headers}
    try:
        return text.get(OF, ""), Mark(text.get(MARK, ""))
    except ValueError:
        return None


def marking(letter: Letter, mark: Mark, at: datetime) -> list[Header]:
    """The headers of a mark; its value is empty, and it stands in the partition of its letter."""
    return [
        (MARK, mark.encode()),
        (OF, letter.id.encode()),
        (MARKED_AT, at.isoformat().encode()),
    ]


def replaying(headers: Iterable[Header], letter: Letter) -> list[Header]:
    """The headers that a record had, and that it is here once more."""
    added = (REPLAYED_FROM, REPLAYS)
    kept = [(n, v) for n, v in headers if not n.startswith(_DLQ) and n not in added]
    return [
        *kept,
        (REPLAYED_FROM, letter.id.encode()),
        (REPLAYS, str(letter.replays + 1).encode()),
    ]


def _id(text: Mapping[str, str], position: str) -> str:
    place = [text.get(f"x-dlq-{part}", "") for part in ("topic", "partition", "offset")]
    named = [*place, text.get("x-dlq-timestamp", "")] if all(place) else [position]
    return blake2b("\0".join(named).encode(), digest_size=6).hexdigest()


def _number(text: str, otherwise: int) -> int:
    return int(text) if text.isdecimal() and len(text) < len(str(2**63)) else otherwise


def _time(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else None
