"""Headers: CloudEvents and ours, written and read; dead letters keep what they had."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewstream.contracts import envelope
from crewstream.contracts.envelope import Envelope
from crewstream.errors import Undecodable

AT = datetime(2026, 7, 1, 12, 30, 0, 123456, tzinfo=UTC)
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_headers_are_those_of_cloudevents_binary_mode() -> None:
    headers = envelope.headers_for(
        "TaskAssigned",
        id="w/a/1",
        source="/crewstream/coordinator",
        subject="w",
        time=AT,
        tenant_id="acme",
        correlation_id="w",
        causation_id="w/a/0",
        traceparent=TRACE,
        dataschema="1004",
    )
    assert dict(headers) == {
        "ce_specversion": b"1.0",
        "ce_type": b"crewstream.TaskAssigned",
        "ce_id": b"w/a/1",
        "ce_source": b"/crewstream/coordinator",
        "ce_subject": b"w",
        "ce_time": b"2026-07-01T12:30:00.123456+00:00",
        "ce_dataschema": b"1004",
        "content-type": b"application/avro",
        "traceparent": TRACE.encode(),
        "x-tenant": b"acme",
        "x-correlation-id": b"w",
        "x-causation-id": b"w/a/0",
    }


@given(text=st.text(), time=st.datetimes(timezones=st.just(UTC)))
def test_what_is_written_is_read(text: str, time: datetime) -> None:
    texts = {"id": text, "source": text, "subject": text, "tenant_id": text}
    more = {"correlation_id": text, "causation_id": text, "traceparent": text, "dataschema": text}
    headers = envelope.headers_for("Measured", time=time, **texts, **more)
    assert envelope.read(headers) == Envelope(type="Measured", time=time, **texts, **more)


def test_what_is_not_there_is_left_out() -> None:
    headers = envelope.headers_for(
        "M", id="i", source="s", subject="", time=AT, tenant_id="t", correlation_id="c"
    )
    assert {"traceparent", "x-causation-id", "ce_dataschema"}.isdisjoint(dict(headers))


def test_the_first_of_two_headers_counts_and_case_does_not() -> None:
    assert envelope.read([("CE_ID", b"first"), ("ce_id", b"second")]).id == "first"


@pytest.mark.parametrize("value", [b"\xff\xfe", b"yesterday", b"", None])
def test_headers_that_cannot_be_read_are_no_trouble(value: bytes | None) -> None:
    assert envelope.read([("ce_time", value), ("x-tenant", value)]).time is None
    assert envelope.read([]) == Envelope()


@given(headers=st.lists(st.tuples(st.text(), st.binary())))
def test_no_header_of_anybody_raises(headers: list[tuple[str, bytes]]) -> None:
    envelope.read(headers)


def test_a_time_without_zone_is_utc() -> None:
    assert envelope.read([("ce_time", b"2026-07-01T12:30:00.123456")]).time == AT


def dead(headers: list[tuple[str, bytes]], error: Exception) -> list[tuple[str, bytes]]:
    return envelope.dead_letter(
        headers,
        error,
        topic="crewstream.task.results",
        partition=3,
        offset=42,
        timestamp_ms=1_782_909_000_123,
        schema_id=1005,
        failed_at=AT,
    )


def test_a_dead_letter_keeps_its_headers_and_says_where_and_why() -> None:
    original = [("ce_id", b"1"), ("ce_id", b"2"), ("odd", b"\xff")]
    headers = dead(original, Undecodable("the value is empty"))
    assert headers[:3] == original
    assert dict(headers[3:]) == {
        "x-dlq-topic": b"crewstream.task.results",
        "x-dlq-partition": b"3",
        "x-dlq-offset": b"42",
        "x-dlq-timestamp": b"1782909000123",
        "x-dlq-error": b"the value is empty",
        "x-dlq-error-type": b"Undecodable",
        "x-dlq-schema-id": b"1005",
        "x-dlq-failed-at": b"2026-07-01T12:30:00.123456+00:00",
    }


def test_a_dead_letter_that_dies_again_tells_the_last_death() -> None:
    headers = dead(dead([("ce_id", b"1")], ValueError("first")), ValueError("second"))
    assert [value for name, value in headers if name == "x-dlq-error"] == [b"second"]


def test_a_long_error_does_not_make_the_record_too_large() -> None:
    assert len(dict(dead([], ValueError("x" * 9999)))["x-dlq-error"]) == 1000


def test_an_error_with_any_text_can_be_told() -> None:
    assert dict(dead([], ValueError("\ud800")))["x-dlq-error"]
