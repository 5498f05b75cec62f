"""What is read from a dead letter's headers, and what is put behind it."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from crewstream.contracts import envelope, letters
from crewstream.contracts.letters import Mark
from crewstream.errors import Undecodable

NOW = datetime(2026, 1, 2, tzinfo=UTC)
OWN = [("x-tenant", b"acme"), ("x-correlation-id", b"w1"), ("x", b"1"), ("x", b"\xff")]


def died(
    headers: list[tuple[str, bytes]], offset: int = 7, at: datetime = NOW
) -> list[tuple[str, bytes]]:
    return envelope.dead_letter(
        headers,
        Undecodable("too short"),
        topic="c.task.results",
        partition=3,
        offset=offset,
        timestamp_ms=1000,
        schema_id=4,
        failed_at=at,
    )


def test_a_letter_says_where_it_was_and_why_it_died() -> None:
    letter = letters.read(died(OWN), "c.dead-letters[1]@2")
    assert (letter.topic, letter.partition, letter.offset) == ("c.task.results", 3, 7)
    assert (letter.error_type, letter.error, letter.schema_id) == ("Undecodable", "too short", "4")
    assert (letter.tenant_id, letter.workflow_id) == ("acme", "w1")
    assert (letter.failed_at, letter.replays, letter.size) == (NOW, 0, 0)


def test_the_same_record_is_the_same_letter_wherever_it_lies_and_whenever_it_died() -> None:
    one = letters.read(died(OWN), "c.dead-letters[1]@2")
    later = letters.read(died(OWN, at=datetime.now(UTC)), "c.dead-letters[1]@99")
    assert one.id == later.id
    assert one.id != letters.read(died(OWN, offset=8), "c.dead-letters[1]@2").id


def test_a_letter_of_somebody_else_is_named_by_its_position() -> None:
    one, two = (letters.read([], f"c.dead-letters[1]@{n}") for n in (1, 2))
    assert one.id != two.id
    assert (one.topic, one.partition) == ("", -1)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                ["x-dlq-partition", "x-dlq-failed-at", "x-replays", "x-dlq-topic", "x"]
            ),
            st.none() | st.binary(max_size=30),
        )
    )
)
def test_any_headers_are_read(headers: list[tuple[str, bytes | None]]) -> None:
    assert letters.read(headers, "here").id


def test_a_replayed_record_has_its_own_headers_and_says_how_often_it_was_replayed() -> None:
    letter = letters.read(died(OWN), "")
    again = letters.replaying(died(OWN), letter)
    assert again == [*OWN, (letters.REPLAYED_FROM, letter.id.encode()), (letters.REPLAYS, b"1")]
    second = letters.read(died(again, offset=9), "")
    assert (second.replays, second.id == letter.id) == (1, False)
    third = letters.replaying(died(again, offset=9), second)
    assert third[len(OWN) :] == [
        (letters.REPLAYED_FROM, second.id.encode()),
        (letters.REPLAYS, b"2"),
    ]


def test_a_mark_is_told_from_a_letter() -> None:
    letter = letters.read(died(OWN), "")
    for mark in Mark:
        headers = letters.marking(letter, mark, NOW)
        assert letters.is_mark(headers)
        assert letters.marked(headers) == (letter.id, mark)
    assert not letters.is_mark(died(OWN))
    assert letters.marked([(letters.MARK, b"burnt")]) is None
