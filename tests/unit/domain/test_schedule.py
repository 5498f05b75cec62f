"""Recurring schedules: always forwards, nothing twice, the same wherever it is begun again."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crewstream.contracts.events import Missed, ScheduleDefined, ScheduleState, WorkflowRequested
from crewstream.domain import cron, schedule
from crewstream.domain.plan import Rules
from crewstream.errors import Invalid

ZONES = ("UTC", "Europe/London", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo")
RULES = Rules({"bizoholic": {"writers": frozenset({"write"})}})
AT = datetime(2026, 11, 24, 6, 30, tzinfo=UTC)
REQUEST = {"tenant_id": "acme", "tasks": [{"task_id": "a", "crew": "writers"}]}


def field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    return st.one_of(
        st.just("*"),
        number.map(str),
        st.integers(2, 30).map("*/{}".format),
        st.lists(number, min_size=2, max_size=3, unique=True).map(lambda n: ",".join(map(str, n))),
    )


expressions = st.builds(
    " ".join,
    st.tuples(field(0, 59), field(0, 23), st.just("*"), st.just("*"), field(0, 6)),
)
zones = st.sampled_from(ZONES)
# Two years in which the clocks are changed in all of the zones.
moments = st.datetimes(
    datetime(2025, 1, 1),  # noqa: DTZ001 - hypothesis wants naive bounds
    datetime(2026, 12, 31),  # noqa: DTZ001
    timezones=st.just(UTC),
)


def definition(**fields: Any) -> ScheduleDefined:
    given_: dict[str, Any] = {
        "schedule_id": "nightly",
        "project_id": "bizoholic",
        "cron": "0 7 * * *",
        "request": json.dumps(REQUEST),
        "defined_at": AT,
    }
    return ScheduleDefined(**given_ | fields)


def ids(requests: tuple[WorkflowRequested, ...]) -> list[str]:
    return [request.workflow_id for request in requests]


# -- when ---------------------------------------------------------------------------------------


@given(expressions, zones, moments, st.floats(0, 1))
def test_due_times_are_the_same_from_wherever_one_looks(
    expression: str, zone: str, after: datetime, part: float
) -> None:
    due = cron.following(expression, zone, after)
    assert due is not None
    assert due > after
    between = after + (due - after) * part
    if between < due:
        assert cron.following(expression, zone, between) == due


@given(expressions, zones, moments, st.timedeltas(timedelta(0), timedelta(days=3)))
@settings(max_examples=50)
def test_the_latest_is_the_last_of_all(
    expression: str, zone: str, after: datetime, span: timedelta
) -> None:
    first = cron.following(expression, zone, after)
    assert first is not None
    until = first + span
    last: datetime = first
    due: datetime | None = first
    while due is not None and due <= until:
        last, due = due, cron.following(expression, zone, due)
    assert cron.latest(expression, zone, first, until) == last


@pytest.mark.parametrize(
    ("expression", "after", "due"),
    [
        # Left out between 1 and 2 o'clock on 29 March 2026 in London: right after.
        ("30 1 * * *", "2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z"),
        ("30 1 * * *", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"),
        # Twice between 1 and 2 o'clock on 25 October 2026: the first time only.
        ("30 1 * * *", "2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z"),
        ("30 1 * * *", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"),
        ("30 1 * * *", "2026-10-25T01:10:00Z", "2026-10-26T01:30:00Z"),
        # What is about time that passes is due every half hour, whatever the clocks say.
        ("*/30 * * * *", "2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z"),
        ("*/30 * * * *", "2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z"),
        ("0 9 * * 1-5", "2026-11-20T09:00:00Z", "2026-11-23T09:00:00Z"),
        ("0 0 29 2 *", "2026-11-20T09:00:00Z", "2028-02-29T00:00:00Z"),
    ],
)
def test_changes_of_the_clocks_leave_nothing_out_and_double_nothing(
    expression: str, after: str, due: str
) -> None:
    found = cron.following(expression, "Europe/London", datetime.fromisoformat(after))
    assert found == datetime.fromisoformat(due)


@given(st.text(max_size=30), st.text(max_size=30))
def test_whatever_is_written_is_an_expression_or_a_fault(expression: str, zone: str) -> None:
    assert list(cron.faults(expression, "UTC")) or cron.following(expression, "UTC", AT)
    assert list(cron.faults("0 7 * * *", zone)) or cron.following("0 7 * * *", zone, AT)


@given(st.lists(st.sampled_from("*/,-L#0159ABW "), max_size=20).map("".join))
def test_whatever_is_nearly_an_expression_is_one_or_a_fault(expression: str) -> None:
    assert list(cron.faults(expression, "UTC")) or cron.following(expression, "UTC", AT)


@pytest.mark.parametrize("zone", ["", "Mars/Base", "Europe", "../etc/passwd", "zone.tab", "/UTC"])
def test_what_is_no_time_zone_is_said_so(zone: str) -> None:
    assert list(cron.faults("* * * * *", zone)) == [
        f"timezone: {zone!r} is no time zone known here, as Europe/London is"
    ]
    with pytest.raises(Invalid):
        cron.following("* * * * *", zone, AT)


# -- definitions --------------------------------------------------------------------------------


def test_a_schedule_is_due_after_its_definition() -> None:
    state = schedule.define(None, definition())
    assert state.next_due_at == datetime(2026, 11, 24, 7, tzinfo=UTC)
    assert (state.last_due_at, state.last_workflow_id) == (None, "")


def test_the_same_again_changes_nothing() -> None:
    state = schedule.define(None, definition())
    later = definition(defined_at=AT + timedelta(days=3), defined_by="somebody else")
    assert schedule.define(state, later) is state


def test_another_request_takes_over_what_is_still_to_come() -> None:
    state = schedule.define(None, definition())
    other = definition(missed=Missed.ALL, defined_at=AT + timedelta(days=3))
    assert schedule.define(state, other).next_due_at == state.next_due_at


def test_other_times_count_from_the_new_definition_and_never_from_before_the_last() -> None:
    state, _ = schedule.fire(
        schedule.define(None, definition()), datetime(2026, 11, 24, 7, tzinfo=UTC), AT
    )
    early = definition(cron="0 * * * *", defined_at=AT - timedelta(days=1))
    assert schedule.define(state, early).next_due_at == datetime(2026, 11, 24, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"schedule_id": ""}, "schedule_id: give 1 to 128 letters"),
        ({"schedule_id": "a/b"}, "schedule_id: give 1 to 128 letters"),
        ({"cron": "0 7 * *"}, "cron: '0 7 * *' has not five fields"),
        ({"cron": "0 25 * * *"}, "cron: '0 25 * * *': bad hour"),
        ({"cron": "0 0 30 2 *"}, "cron: '0 0 30 2 *': bad day-of-month"),
        ({"timezone": "Mars/Base"}, "timezone: 'Mars/Base' is no time zone known here"),
        ({"defined_at": datetime(1, 1, 1, tzinfo=UTC)}, "defined_at: 1-01-01 is more than a year"),
        ({"project_id": "nobody"}, "request.project_id: 'nobody' is not known; known: bizoholic"),
        ({"request": "nonsense"}, "request: Expecting value"),
        ({"request": "[1]"}, "request: a JSON object is wanted"),
        ({"request": '{"tasks": NaN}'}, "request: Out of range float values"),
        ({"request": '{"tasks": "\\ud800"}'}, "request: 'utf-8' codec can't encode"),
        ({"request": "[" * 100_000}, "request: "),
        ({"request": '{"x": "' + "y" * 300_000 + '"}'}, "request: more than 262144 bytes"),
        ({"request": '{"workflow_id": "w"}'}, "request: leave out workflow_id"),
        ({"request": '{"tasks": []}'}, "request.tenant_id: name the customer"),
        ({"request": '{"tasks": [{"crew": "x"}]}'}, "request.tasks.0.task_id: Field required"),
        ({"request": '{"colour": 1, "tasks": []}'}, "request.colour: Extra inputs"),
    ],
)
def test_each_kind_of_bad_definition_is_told_apart(fields: dict[str, Any], told: str) -> None:
    found = schedule.faults(definition(**fields), RULES, AT)
    assert any(each.startswith(told) for each in found), found


def test_a_good_definition_has_no_fault_and_unknown_crews_are_told() -> None:
    assert schedule.faults(definition(), RULES, AT) == []
    other = json.dumps(REQUEST | {"tasks": [{"task_id": "a", "crew": "painters"}]})
    (told,) = schedule.faults(definition(request=other), RULES, AT)
    assert told == "request.tasks[0].crew: 'painters' is not known; known: writers"
    unannounced = Rules({"bizoholic": None})
    assert schedule.faults(definition(request=other), unannounced, AT) == []


# -- firing -------------------------------------------------------------------------------------


def test_a_due_time_asks_for_one_workflow_that_is_named_after_it() -> None:
    due = datetime(2026, 11, 24, 7, tzinfo=UTC)
    before = schedule.define(None, definition())
    after, (request,) = schedule.fire(before, due, due + timedelta(seconds=0.4))
    assert request.workflow_id == "nightly@2026-11-24T07:00:00Z" == after.last_workflow_id
    assert request.schedule_id == "nightly"
    assert request.requested_at == due == after.last_due_at
    assert (request.tenant_id, request.project_id) == ("acme", "bizoholic")
    assert after.next_due_at == due + timedelta(days=1)


def test_a_timer_that_is_not_the_present_one_changes_nothing() -> None:
    state = schedule.define(None, definition())
    late = datetime(2026, 11, 25, 7, tzinfo=UTC)
    assert schedule.fire(state, late, late) == (state, ())


def test_a_timer_that_fires_before_the_brokers_clock_says_so_is_taken() -> None:
    due = datetime(2026, 11, 24, 7, tzinfo=UTC)
    _, requests = schedule.fire(schedule.define(None, definition()), due, due - timedelta(hours=1))
    assert len(requests) == 1


@pytest.mark.parametrize(
    ("missed", "late", "asked"),
    [
        (Missed.LATEST, timedelta(days=3, minutes=5), ["27"]),
        (Missed.ALL, timedelta(days=3, minutes=5), ["24", "25", "26", "27"]),
        (Missed.SKIP, timedelta(days=3, minutes=5), []),
        (Missed.SKIP, timedelta(days=3, seconds=30), ["27"]),
        (Missed.SKIP, timedelta(seconds=30), ["24"]),
    ],
)
def test_what_was_missed_is_taken_as_its_policy_says(
    missed: Missed, late: timedelta, asked: list[str]
) -> None:
    state = schedule.define(None, definition(missed=missed))
    due = datetime(2026, 11, 24, 7, tzinfo=UTC)
    after, requests = schedule.fire(state, due, due + late)
    assert ids(requests) == [f"nightly@2026-11-{day}T07:00:00Z" for day in asked]
    assert after.next_due_at is not None
    assert after.next_due_at > due + late


def test_a_great_many_missed_times_come_in_portions() -> None:
    state = schedule.define(None, definition(cron="* * * * *", missed=Missed.ALL))
    now = AT + timedelta(minutes=250)
    portions: list[int] = []
    while state.next_due_at is not None and state.next_due_at <= now:
        state, requests = schedule.fire(state, state.next_due_at, now)
        portions.append(len(requests))
    assert portions == [100, 100, 50]


def test_years_of_missed_minutes_are_no_work() -> None:
    state = schedule.define(None, definition(cron="* * * * *"))
    assert state.next_due_at is not None
    now = AT + timedelta(days=3650, seconds=7)
    _, (request,) = schedule.fire(state, state.next_due_at, now)
    assert request.requested_at == AT + timedelta(days=3650)


@given(
    expression=expressions,
    zone=zones,
    start=moments,
    steps=st.lists(
        st.tuples(st.timedeltas(timedelta(seconds=1), timedelta(days=4)), st.booleans()),
        min_size=1,
        max_size=12,
    ),
)
@settings(max_examples=60)
def test_restarts_anywhere_lead_to_the_same_workflows_and_none_is_asked_for_twice(
    expression: str, zone: str, start: datetime, steps: list[tuple[timedelta, bool]]
) -> None:
    """Each step is when a timer's signal is handled; after some, its row was lost on the way."""
    defined = definition(cron=expression, timezone=zone, missed=Missed.ALL, defined_at=start)
    state = schedule.define(None, defined)
    asked: dict[str, datetime] = {}
    now = start
    for wait, dies in steps:
        now += wait
        due = state.next_due_at
        if due is None or due > now:
            continue
        after, requests = schedule.fire(state, due, now)
        repeated = schedule.fire(state, due, now)
        assert repeated == (after, requests), "the same bytes when it is handled again"
        if not dies:
            assert not asked.keys() & set(ids(requests))
            asked |= {each.workflow_id: each.requested_at for each in requests}
            state = after
    times = sorted(asked.values())
    assert all(early < late for early, late in pairwise(times))
    assert times == _all_dues(state, start)


def _all_dues(state: ScheduleState, start: datetime) -> list[datetime]:
    """Every due time from the definition up to what the row has dealt with."""
    found: list[datetime] = []
    due = cron.following(state.cron, state.timezone, start)
    while due is not None and state.last_due_at is not None and due <= state.last_due_at:
        found.append(due)
        due = cron.following(state.cron, state.timezone, due)
    return found
