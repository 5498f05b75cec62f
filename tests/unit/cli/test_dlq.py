"""Times and bytes on the command line of dead letters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import typer

from crewstream.app.letters import Filed, Wanted
from crewstream.cli.dlq import moment
from crewstream.contracts import letters

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "age"), [("30s", 30), ("15m", 900), ("2h", 7200), ("7d", 7 * 86_400)]
)
def test_an_age_is_a_time_before_now(text: str, age: int) -> None:
    found = moment(text, "--since")
    assert found is not None
    assert abs(datetime.now(UTC) - found - timedelta(seconds=age)) < timedelta(seconds=10)


def test_a_time_is_utc_unless_it_says_otherwise() -> None:
    assert moment("", "--since") is None
    assert moment("2026-01-02", "--since") == NOW
    assert moment("2026-01-02T02:00:00+02:00", "--since") == NOW


def test_what_is_neither_is_refused() -> None:
    with pytest.raises(typer.BadParameter, match="ISO 8601"):
        moment("yesterday", "--since")


HEADERS = [
    ("x-dlq-topic", b"c.coreldove.tasks"),
    ("x-dlq-error-type", b"Undecodable"),
    ("x-tenant", b"acme"),
]
FILED = Filed(letters.read(HEADERS, "p"), 0, 0, NOW, "w/a")


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        (Wanted(), True),
        (Wanted(ids=[FILED.letter.id]), True),
        (Wanted(ids=["other"]), False),
        (Wanted(topic="c.coreldove.tasks"), True),
        (Wanted(topic="coreldove.tasks"), True),
        (Wanted(topic="ove.tasks"), False),
        (Wanted(error_type="Conflict"), False),
        (Wanted(since=NOW, until=NOW + timedelta(1)), True),
        (Wanted(until=NOW), False),
        (Wanted(tenant="acme"), True),
        (Wanted(tenant="other"), False),
        (Wanted(workflow="w"), True),
        (Wanted(workflow="w/a"), True),
        (Wanted(workflow="a"), False),
    ],
)
def test_a_filter_takes_what_fits_all_of_it(wanted: Wanted, taken: bool) -> None:
    assert wanted.takes(FILED) == taken
