"""How services come up and break, in lines."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from rich.console import Console

from crewstream.cli.progress import Services
from crewstream.embedded.supervisor import Event, Phase


class Screen:
    def __init__(self, *, terminal: bool) -> None:
        self._out = io.StringIO()
        self.view = Services(Console(file=self._out, width=60, force_terminal=terminal))

    @property
    def lines(self) -> list[str]:
        return re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", self._out.getvalue()).splitlines()


@contextmanager
def started(*, terminal: bool = False) -> Iterator[Screen]:
    screen = Screen(terminal=terminal)
    with screen.view:
        yield screen


def test_a_start_is_a_line_for_whatever_is_ready() -> None:
    with started() as screen:
        screen.view.tell(Event("kafka", Phase.STARTING))
        screen.view.tell(Event("kafka", Phase.READY))
    [line] = screen.lines
    assert re.fullmatch(r"kafka: ready after \d+\.\d s", line)


def test_a_first_start_tells_what_it_fetches() -> None:
    with started() as screen:
        for done in (*range(1, 43), 42):
            screen.view.jars(done, 42)
    assert screen.lines == [
        *(f"kafka: fetching its jars, {done} of 42" for done in (10, 20, 30, 40)),
        "kafka: has its jars, is being prepared (only this once)",
    ]


def test_nothing_is_said_of_jars_that_are_there() -> None:
    with started() as screen:
        screen.view.jars(42, 42)
    assert screen.lines == []


@pytest.mark.parametrize("terminal", [False, True])
def test_what_dies_later_is_one_line_without_its_last_words(terminal: bool) -> None:
    with started(terminal=terminal) as screen:
        pass
    words = "worker ended with exit code -9; /logs/worker.log ends with:\n    oh\n    no"
    screen.view.tell(Event("worker", Phase.DIED, detail=words))
    screen.view.tell(Event("worker", Phase.RESTARTING, delay_s=0.5))
    screen.view.tell(Event("worker", Phase.STARTING))
    screen.view.tell(Event("worker", Phase.READY))
    *told, last = screen.lines[-3:]
    assert told == ["worker: ended with exit code -9", "worker: starting again in 0.5 s"]
    assert last.startswith("worker: ready again after")


def test_a_terminal_sees_every_service_before_it_starts() -> None:
    with started(terminal=True) as screen:
        pass
    assert any("projector" in line and "waiting" in line for line in screen.lines)
