"""The journal of one run: what it answers, what it keeps, and what is accounted from it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Protocol

from crewai.context import get_current_task_id
from crewai.events.stream_context import add_stream_sink, reset_stream_sinks
from crewai.hooks.dispatch import HookAborted

from crewstream_agents.cancellation import StopFlag
from crewstream_agents.journal import budget, fields
from crewstream_agents.journal.budget import Charge
from crewstream_agents.journal.fields import Found
from crewstream_agents.journal.numbers import Numbers
from crewstream_agents.journal.record import HOST, Record
from crewstream_agents.journal.result import decode, encode
from crewstream_agents.journal.store import Refused, Written
from crewstream_agents.limits.gate import Gate
from crewstream_agents.measure import Recorder
from crewstream_agents.policy import Policy
from crewstream_agents.refusal import RunRefused
from crewstream_agents.spec import BudgetAlert, Call, CrewTask

current: ContextVar[Journal | None] = ContextVar("crewstream_journal", default=None)
"""The journal of the run that this code belongs to."""

scope: ContextVar[str] = ContextVar("crewstream_journal_scope", default="")
"""The tool calls that this code is inside of: a model that a tool asks is asked there."""

place: ContextVar[int | None] = ContextVar("crewstream_journal_place", default=None)
"""Where a tool call stands among those that a model asked for at once: they run in any order."""


class Lease(Protocol):
    """A run's hold of its journal; see `store.Lease`."""

    epoch: int
    limited: bool

    def acquire(self) -> Mapping[str, bytes]: ...

    def put(self, field: str, data: bytes, charge: Charge | None = None) -> Written: ...

    def reserve(self, charge: Charge, /) -> Refused | None: ...

    def release(self, reservation: str, *, lost: bool) -> None: ...


class Journal:
    """Answers the calls that an earlier run finished, and keeps those that this one finishes.

    The n-th call of a key is answered by its n-th record.
    """

    def __init__(
        self,
        task: CrewTask,
        lease: Lease,
        flag: StopFlag,
        recorder: Recorder,
        external: Collection[str] = (),
        *,
        gate: Gate | None = None,
    ) -> None:
        self.task, self.flag, self.recorder, self.external = task, flag, recorder, external
        self.gate = gate or Gate(task, Policy(), flag, math.inf)
        self.numbers = Numbers()
        self.doubtful: dict[str, int] = {}
        """External calls that raised: their key, and the number of the call."""
        self._lease, self._lock = lease, threading.Lock()
        self._found = Found()
        self._answers: Mapping[str, Record] = {}
        self._replays: list[Call] = []
        self._reached: list[BudgetAlert] = []
        self._positions: dict[str, int] = {}
        self._covered = 0
        self._ahead: set[int] = set()

    def open(self) -> None:
        """Take the journal over and read it. Blocks.

        Raises RunRefused (`run.fenced`, `journal.failed`), or HookAborted in a stopped run.
        """
        try:
            self._found = fields.read(self._lease.acquire())
        except (RunRefused, HookAborted):
            raise
        except Exception as error:
            raise _failed(error) from error
        self._answers = self._found.answers()
        self._covered = self._found.written

    @contextmanager
    def answering(self) -> Iterator[None]:
        """What runs in here, in every thread and task that it starts, is journaled."""
        token, sink = current.set(self), add_stream_sink(self._note_positions)
        try:
            yield
        finally:
            reset_stream_sinks(sink)
            current.reset(token)

    def answer(self, key: str, number: int) -> Record | None:
        """The record of this call, if an earlier run finished it."""
        return self._answers.get(f"{key}:{number}")

    def keep(self, key: str, number: int, record: Record, charge: Charge | None = None) -> None:
        """Write a finished call, before anybody uses its result. Raises HookAborted. Blocks."""
        name = f"{key}:{number}"
        written = self._stopping(lambda: self._lease.put(name, record.dump(), charge))
        with self._lock:
            self._found.records[name] = written.sequence, record
            self._cover(written.sequence)
            for told, value in written.alerts.items():
                self._found.alerts[told] = budget.soft_alert(told, value)
        self.flag.check()

    def is_open(self, call: str) -> bool:
        """Whether an external call was started, and nothing is known of its end."""
        return self._found.starts.get(call, 0) > self._found.cleared.get(call, 0)

    def mark_start(self, call: str) -> None:
        """Write that an external call is about to be made. Raises HookAborted. Blocks."""
        number = self._found.starts.get(call, 0)
        self._mark(f"s:{call}:{number}")
        self._found.starts[call] = number + 1

    def mark_not_performed(self, call: str) -> None:
        """Write that an external call certainly had no effect. Raises HookAborted. Blocks."""
        starts = self._found.starts.get(call, 0)
        self._mark(f"n:{call}:{starts - 1}")
        self._found.cleared[call] = starts

    def reserve(self, charge: Charge) -> None:
        """Hold what a call can use. Raises HookAborted: over a limit, the run stops. Blocks."""
        refused = self._stopping(lambda: self._lease.reserve(charge))
        if refused is None:
            return
        alert = budget.hard_alert(refused)
        self._reached.append(alert)
        self.stop(
            RunRefused(
                "budget.exceeded",
                f"{alert.account} has used {alert.spent:f} of {alert.limit:f} {alert.unit}, and the"
                " next model call may not fit: raise the limit with `crewstream budget set`",
            )
        )

    def release(self, reservation: str, *, lost: bool) -> None:
        """Let go of a reservation. Raises HookAborted. Blocks."""
        self._stopping(lambda: self._lease.release(reservation, lost=lost))

    def replayed(self, key: str, number: int, record: Record, agent: str = "") -> None:
        """A record has answered a call."""
        self._replays.append(record.replay(f"{key}:{number}", datetime.now(UTC), agent))

    def stop(self, error: BaseException) -> None:
        """End the run for this reason. Raises HookAborted, always.

        CrewAI turns what a tool raises into words for the model, so the flag raises again at every
        boundary, and the run ends with this error whatever the crew says.
        """
        self.flag.stop(error)
        self.flag.check()

    def where(self) -> Sequence[object]:
        """The place of a call: tasks that run at once may ask their models the same."""
        return [scope.get(), place.get(), self._positions.get(str(get_current_task_id()))]

    @property
    def epoch(self) -> int:
        """The number of this run's lease."""
        return self._lease.epoch

    @property
    def limited(self) -> bool:
        """Whether an account has a limit, so that calls have to be reserved."""
        return self._lease.limited

    @property
    def covered(self) -> int:
        """All records up to this one are known here."""
        return self._covered

    def calls(self) -> Sequence[Call]:
        """Each finished call that no outcome has told of yet, and each replay of this run."""
        with self._lock:
            paid = [
                record.call(name)
                for name, (sequence, record) in self._found.records.items()
                if record.kind != HOST and self._found.reported < sequence <= self._covered
            ]
            return [*paid, *self._replays]

    def remembered(self, name: str) -> Sequence[Any]:
        """All values of `remember(name, …)`, of this run and of those before it."""
        key = f"r:host:{name}:"
        with self._lock:
            kept = self._found.records.items()
            return [decode(record.result) for field, (_, record) in kept if field.startswith(key)]

    def alerts(self) -> Sequence[BudgetAlert]:
        """Limits that came near or were reached, and were not told of yet."""
        with self._lock:
            kept = self._found.alerts.values()
            told = [alert for sequence, alert in kept if sequence > self._found.reported]
            return [*told, *self._reached]

    def _mark(self, name: str) -> None:
        written = self._stopping(lambda: self._lease.put(name, b""))
        with self._lock:
            self._cover(written.sequence)

    def _cover(self, sequence: int) -> None:
        self._ahead.add(sequence)
        while self._covered + 1 in self._ahead:
            self._covered += 1
            self._ahead.remove(self._covered)

    def _stopping(self, write: Callable[[], Any]) -> Any:
        """What cannot be written ends the run: from here on nobody would know what was paid."""
        try:
            return write()
        except RunRefused as error:
            return self.stop(error)
        except Exception as error:  # noqa: BLE001 - such as a Redis that refuses the scripts
            self.flag.check()
            return self.stop(_failed(error))

    def _note_positions(self, source: Any, event: Any) -> None:
        if event.type == "crew_kickoff_started":
            tasks = getattr(source, "tasks", ())
            self._positions.update({str(task.id): i for i, task in enumerate(tasks)})


def _failed(error: Exception) -> RunRefused:
    why = f"the journal cannot be used: {type(error).__name__}: {error}"
    return RunRefused("journal.failed", why, retryable=True)


def position() -> Sequence[object]:
    """Where in its run this code is, the same in every run of it; empty without a journal."""
    journal = current.get()
    return journal.where() if journal is not None else ()


def remember(name: str, compute: Callable[[], Any]) -> Any:
    """A value of the host that reaches prompts: computed once, the same in every later run.

    Scores, choices, a moment in time: what is computed anew would make a replay ask for other
    things. Without a journal it is just computed. The value is plain JSON.
    """
    journal = current.get()
    if journal is None:
        return compute()
    key = f"r:host:{name}"
    number = journal.numbers.take(key)
    record = journal.answer(key, number)
    if record is not None:
        return decode(record.result)
    value = compute()
    journal.keep(key, number, Record(HOST, encode(value), time.time()))
    return value
