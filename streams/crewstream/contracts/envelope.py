"""Record headers: CloudEvents in Kafka's binary mode, trace context, tenant, causes.

Binding: https://github.com/cloudevents/spec/blob/main/cloudevents/bindings/kafka-protocol-binding.md
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Header = tuple[str, bytes]

_VERSION: Header = ("ce_specversion", b"1.0")
_CONTENT: Header = ("content-type", b"application/avro")
_TYPE_PREFIX = "crewstream."
_DLQ = "x-dlq-"
_LONGEST_ERROR = 1000  # characters: a dead letter may have been as large as its topic takes


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the headers of a record say; what they do not say is empty (`time`: None)."""

    type: str = ""
    id: str = ""
    source: str = ""
    subject: str = ""
    time: datetime | None = None
    dataschema: str = ""
    tenant_id: str = ""
    correlation_id: str = ""
    causation_id: str = ""
    traceparent: str = ""


def headers_for(
    event_type: str,
    *,
    id: str,  # noqa: A002 - CloudEvents' word
    source: str,
    subject: str,
    time: datetime,
    tenant_id: str,
    correlation_id: str,
    causation_id: str = "",
    traceparent: str = "",
    dataschema: str = "",
) -> list[Header]:
    """The headers of an event; `event_type` is its record's name, `time` an aware UTC time."""
    about = subject.encode()
    found = [
        *_common(event_type, source, tenant_id),
        ("ce_id", id.encode()),
        ("ce_subject", about),
        ("ce_time", _written(time)),
        ("x-correlation-id", about if correlation_id is subject else correlation_id.encode()),
    ]
    if causation_id:
        found.append(("x-causation-id", causation_id.encode()))
    if traceparent:
        found.append(("traceparent", traceparent.encode()))
    if dataschema:
        found.append(("ce_dataschema", dataschema.encode()))
    return found


# Seven records a workflow: made anew for each, these two were half the price of their headers.
@lru_cache(maxsize=1024)
def _common(event_type: str, source: str, tenant_id: str) -> Sequence[Header]:
    return (
        _VERSION,
        _CONTENT,
        ("ce_type", (_TYPE_PREFIX + event_type).encode()),
        ("ce_source", source.encode()),
        ("x-tenant", tenant_id.encode()),
    )


@lru_cache(maxsize=1024)
def _written(time: datetime) -> bytes:
    return time.isoformat().encode()


def read(headers: Iterable[tuple[str, bytes | None]]) -> Envelope:
    """What the headers say; never raises. The first of a repeated header counts.

    What matters is in the record as well, so nothing may depend on a header being there.
    """
    text: dict[str, str] = {}
    for name, value in headers:
        text.setdefault(name.lower(), (value or b"").decode("utf-8", "replace"))
    return Envelope(
        type=text.get("ce_type", "").removeprefix(_TYPE_PREFIX),
        id=text.get("ce_id", ""),
        source=text.get("ce_source", ""),
        subject=text.get("ce_subject", ""),
        time=_time(text.get("ce_time", "")),
        dataschema=text.get("ce_dataschema", ""),
        tenant_id=text.get("x-tenant", ""),
        correlation_id=text.get("x-correlation-id", ""),
        causation_id=text.get("x-causation-id", ""),
        traceparent=text.get("traceparent", ""),
    )


def value_of(headers: Iterable[tuple[str, bytes | None]], name: str) -> str:
    """One header's text, empty when there is none; cheaper than to read them all."""
    for header, value in headers:
        if header == name:
            return (value or b"").decode("utf-8", "replace")
    return ""


def dead_letter(
    headers: Iterable[Header],
    error: Exception,
    *,
    topic: str,
    partition: int,
    offset: int,
    timestamp_ms: int,
    schema_id: int | None,
    failed_at: datetime,
) -> list[Header]:
    """The original headers, and where and why the record was given up; key and value stay as is.

    A record that became a dead letter twice tells its last death only.
    """
    told = {
        "topic": topic,
        "partition": str(partition),
        "offset": str(offset),
        "timestamp": str(timestamp_ms),
        "error": str(error)[:_LONGEST_ERROR],
        "error-type": type(error).__name__,
        "schema-id": "" if schema_id is None else str(schema_id),
        "failed-at": failed_at.isoformat(),
    }
    kept = [(name, value) for name, value in headers if not name.startswith(_DLQ)]
    return kept + [(_DLQ + name, value.encode("utf-8", "replace")) for name, value in told.items()]


def _time(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
