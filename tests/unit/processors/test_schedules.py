"""The coordinator's rows of schedules: definitions, timers, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from crewstream import topology
from crewstream.contracts import envelope
from crewstream.contracts.codec import Codec
from crewstream.contracts.events import (
    Missed,
    ScheduleDefined,
    ScheduleState,
    WorkflowRequested,
    WorkflowSignalled,
)
from crewstream.contracts.schemas import Schemas
from crewstream.contracts.topics import Topics
from crewstream.domain import outputs
from crewstream.domain.plan import Rules
from crewstream.errors import Invalid, InvalidSchedule
from crewstream.processors.coordinator.schedules import Schedules
from crewstream.records import Inbound, Outbound
from crewstream.testing import MemoryRows

CODEC = Codec(Schemas.load())
TOPICS = Topics.load(replicas=1)
TABLE = TOPICS.full(topology.SCHEDULE_STATE)
REQUESTS = TOPICS.full(topology.REQUESTS, "bizoholic")
ROW = "/schedule/nightly"
AT = datetime(2026, 11, 24, 6, 30, tzinfo=UTC)
DUE = datetime(2026, 11, 24, 7, tzinfo=UTC)
REQUEST = {"tenant_id": "acme", "tasks": [{"task_id": "a", "crew": "writers"}]}


def definition(**fields: Any) -> ScheduleDefined:
    given: dict[str, Any] = {
        "schedule_id": "nightly",
        "project_id": "bizoholic",
        "cron": "0 7 * * *",
        "request": json.dumps(REQUEST),
        "defined_at": AT,
    }
    return ScheduleDefined(**given | fields)


class Stage:
    """The rows, and what went out; `crash` loses the row of what is handled."""

    def __init__(self) -> None:
        self.rows = MemoryRows()
        self.schedules = Schedules(CODEC, TOPICS, lambda: Rules(dict.fromkeys(TOPICS.projects)))
        self.asked: list[Outbound] = []

    def define(self, event: ScheduleDefined) -> None:
        self.take(self.schedules.define(event, record(AT), self.rows))

    def fire(self, due: datetime, at: datetime, *, crash: bool = False) -> None:
        signal = outputs.fired(ROW, due)
        self.take(self.schedules.fire(signal, record(at), self.rows), crash=crash)

    def take(self, sent: Iterator[Outbound], *, crash: bool = False) -> None:
        for out in sent:
            if out.topic != TABLE:
                self.asked.append(out)
            elif not crash:
                self.rows.put(out.topic, out.key or b"", out.value)
                assert out.due_at == (self.due() if out.value else None)

    def state(self) -> ScheduleState | None:
        value = self.rows.get(TABLE, ROW.encode())
        return None if value is None else CODEC.decode(value, ScheduleState)

    def due(self) -> datetime | None:
        value = self.rows.get(TABLE, ROW.encode())
        return None if value is None else self.schedules.due(value)


def record(at: datetime) -> Inbound:
    return Inbound("t", 0, 0, ROW.encode(), b"", (), int(at.timestamp() * 1000))


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_a_definition_is_a_row_whose_timer_asks_for_a_workflow(stage: Stage) -> None:
    stage.define(definition())
    assert stage.due() == DUE
    stage.fire(DUE, DUE + timedelta(seconds=1))
    assert stage.due() == DUE + timedelta(days=1)
    (out,) = stage.asked
    assert (out.topic, out.key, out.partition) == (REQUESTS, b"nightly@2026-11-24T07:00:00Z", None)
    request = CODEC.decode(out.value, WorkflowRequested)
    assert (request.schedule_id, request.requested_at) == ("nightly", DUE)
    told = envelope.read(out.headers)
    assert (told.tenant_id, told.id, told.time) == ("acme", request.workflow_id, DUE)


def test_a_crash_after_the_request_asks_for_the_same_again_byte_by_byte(stage: Stage) -> None:
    stage.define(definition())
    stage.fire(DUE, DUE, crash=True)
    stage.fire(DUE, DUE)
    first, second = stage.asked
    assert first == second


def test_a_signal_that_comes_late_or_twice_or_for_nobody_asks_for_nothing(stage: Stage) -> None:
    stage.fire(DUE, DUE)
    stage.define(definition())
    stage.fire(DUE, DUE)
    stage.fire(DUE, DUE + timedelta(days=3))
    nothing = WorkflowSignalled(signal_id="s", workflow_id=ROW, occurred_at=DUE)
    stage.take(stage.schedules.fire(nothing, record(DUE), stage.rows))
    assert len(stage.asked) == 1


def test_what_was_missed_while_nobody_ran_is_asked_for(stage: Stage) -> None:
    stage.define(definition(missed=Missed.ALL, defined_at=AT - timedelta(days=3)))
    due = stage.due()
    assert due is not None
    stage.fire(due, AT)
    assert [(out.key or b"").decode() for out in stage.asked] == [
        f"nightly@2026-11-{day}T07:00:00Z" for day in (21, 22, 23)
    ]
    assert stage.due() == DUE


def test_the_same_definition_again_writes_nothing(stage: Stage) -> None:
    stage.define(definition())
    later = definition(defined_at=AT + timedelta(days=3))
    assert list(stage.schedules.define(later, record(AT), stage.rows)) == []


def test_a_removed_schedule_is_gone_and_asks_for_nothing_more(stage: Stage) -> None:
    stage.define(definition())
    removed = definition(removed=True, cron="", project_id="", request="{}")
    stage.define(removed)
    assert stage.state() is None
    stage.fire(DUE, DUE)
    assert stage.asked == []
    assert list(stage.schedules.define(removed, record(AT), stage.rows)) == []


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"cron": "0 25 * * *"}, "schedule 'nightly': cron: '0 25 .*': bad hour"),
        ({"schedule_id": "x" * 300}, "schedule_id: give 1 to 128"),
        ({"project_id": "mars"}, "request.project_id: 'mars' is not known"),
        ({"request": "{}"}, "request.tasks: Field required"),
    ],
)
def test_a_bad_definition_is_refused_in_words(
    stage: Stage, fields: dict[str, Any], told: str
) -> None:
    with pytest.raises(InvalidSchedule, match=told):
        stage.define(definition(**fields))


def test_a_number_that_no_request_has_room_for_is_refused_at_once(stage: Stage) -> None:
    large = json.dumps(REQUEST | {"max_tokens": 2**70})
    with pytest.raises(Invalid, match="WorkflowRequested cannot be written"):
        stage.define(definition(request=large))
    assert stage.state() is None


def test_another_project_does_not_take_a_name_over(stage: Stage) -> None:
    stage.define(definition())
    with pytest.raises(InvalidSchedule, match="project_id: it is one of 'bizoholic' already"):
        stage.define(definition(project_id="coreldove"))


def test_a_row_that_this_version_cannot_use_is_a_dead_letter_and_stops_nothing(
    stage: Stage,
) -> None:
    stage.define(definition())
    state = stage.state()
    assert state is not None
    newer = state.changed({"request": '{"colour": "red"}'})
    stage.rows.put(TABLE, ROW.encode(), CODEC.encode(newer))
    with pytest.raises(InvalidSchedule, match="colour"):
        stage.fire(DUE, DUE)
