"""What a runner leaves out of CrewAI is there to be left out, and users' listeners are told all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from crewai import Crew
from crewai.events.event_bus import crewai_event_bus
from crewai.events.event_listener import EventListener
from crewai.events.listeners.tracing.trace_listener import TraceCollectionListener
from crewai.events.types.hook_events import HookDispatchedEvent
from crewai.events.types.task_events import TaskCompletedEvent
from crewai.hooks.dispatch import InterceptionPoint, scoped_hooks
from crewai.state import checkpoint_listener

from crewstream_agents import quiet
from crewstream_agents.cancellation import StopFlag
from crewstream_agents.quiet import hush
from support.shapes.log import Log
from support.shapes.models import Model
from support.shapes.shape import agent, one

# CrewAI reads its own deprecated fields.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(autouse=True)
def _hushed() -> Iterator[None]:
    """Other tests of this process go on with CrewAI as it was."""
    bus: Any = crewai_event_bus
    hooks: Any = quiet._hooks  # noqa: SLF001 - what hush changes is put back
    told, traced = getattr(hooks, quiet.HOOKS_TOLD), TraceCollectionListener()
    had = getattr(traced, quiet.TRACED)
    EventListener()
    with bus.scoped_handlers():
        hush()
        yield
    vars(bus).pop(quiet.RECORD)
    setattr(hooks, quiet.HOOKS_TOLD, told)
    setattr(traced, quiet.TRACED, had)


def crew() -> Crew:
    return one(agent(Model(model="scripted/x", log=Log())))


def records() -> int:
    state = crewai_event_bus.runtime_state
    return len(state.event_record.nodes) if state is not None else 0


@pytest.mark.parametrize(
    ("where", "name"),
    [
        (crewai_event_bus, quiet.HANDLERS),
        (crewai_event_bus, quiet.RECORD),
        (TraceCollectionListener(), quiet.TRACED),
        (checkpoint_listener, quiet.CHECKPOINTS),
        (quiet._hooks, quiet.HOOKS_TOLD),  # noqa: SLF001 - as above
    ],
)
def test_the_private_names_that_are_replaced_are_there(where: object, name: str) -> None:
    assert hasattr(where, name)


def test_no_handler_of_crewais_own_is_left_and_none_comes_back() -> None:
    crew().kickoff()

    handlers: Any = getattr(crewai_event_bus, quiet.HANDLERS).values()
    assert not {h.__module__ for each in handlers for h in each} & quiet.OF_CREWAI


def test_a_users_listener_is_told_of_events_and_of_the_hooks_that_are_not_ours() -> None:
    ended: list[str] = []
    dispatched: list[tuple[str, int]] = []
    crewai_event_bus.on(TaskCompletedEvent)(lambda _, event: ended.append(event.output.raw))
    crewai_event_bus.on(HookDispatchedEvent)(
        lambda _, event: dispatched.append((event.interception_point, event.hook_count))
    )

    with StopFlag().watched():
        crew().kickoff()
    with scoped_hooks({InterceptionPoint.PRE_MODEL_CALL: [lambda _: None]}), StopFlag().watched():
        crew().kickoff()
    crewai_event_bus.flush()

    assert ended == ["done", "done"]
    assert dispatched == [("pre_model_call", 1)]


def test_events_are_kept_as_a_graph_only_for_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[int] = []
    crewai_event_bus.on(TaskCompletedEvent)(lambda *_: kept.append(records()))

    crew().kickoff()
    crewai_event_bus.flush()
    monkeypatch.setattr(checkpoint_listener, quiet.CHECKPOINTS, True)
    crew().kickoff()
    crewai_event_bus.flush()

    assert kept[0] == 0
    assert kept[1] > 0
