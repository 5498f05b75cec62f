"""What the topics say: workflows lost, ended twice, results applied twice, rows that should be."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from crewstream.contracts.events import (
    MeasuredStatus,
    Operation,
    TaskStatus,
    WorkflowFinished,
    WorkflowState,
    WorkflowStatus,
)
from crewstream.domain.policy import is_ended
from crewstream.drill.topic_log import Entry, Log

Attempt = tuple[str, str, int]
"""Workflow, task, attempt."""


@dataclass(frozen=True, slots=True)
class WorkflowCounts:
    """What became of the workflows. Of what must not be, the names.

    `lost`: confirmed to the producer and without an end. `ended_twice`: with more than one result,
    or ended more than once by their state. `applied_twice`: attempts that changed their task more
    than once, and versions of a state that were written twice. `unsuccessful`: ended otherwise than
    completed, though nothing in the load should make them.
    """

    accepted: int
    ended: int
    results_repeated: int
    lost: Sequence[str]
    ended_twice: Sequence[str]
    applied_twice: Sequence[str]
    unsuccessful: Sequence[str]
    letters: int


@dataclass(frozen=True, slots=True)
class Rows:
    """How many rows there are, or should be: of `events`, `transitions` and `dead_letters`."""

    events: int
    transitions: int
    dead_letters: int


@dataclass(frozen=True, slots=True)
class Measurements:
    """What the measurements say about model calls; each that was paid counts once."""

    paid: int
    replayed: int
    tokens: int


def workflows(log: Log, confirmed: Sequence[str]) -> WorkflowCounts:
    """Count; `confirmed` are the workflows that Kafka has confirmed to their producer."""
    states = _by_workflow(log.states)
    ends = Counter(entry.event.workflow_id for entry in log.ends)
    stateful = Counter({name: _times_ended(rows) for name, rows in states.items()})
    bad = {
        f"{entry.event.workflow_id}: {entry.event.status.value}{_why(entry.event)}"
        for entry in log.ends
        if entry.event.status is not WorkflowStatus.COMPLETED
    }
    return WorkflowCounts(
        accepted=len(states),
        ended=len(ends),
        results_repeated=len(log.results) - len({e.event.assignment_id for e in log.results}),
        lost=sorted(name for name in confirmed if not ends[name] or not stateful[name]),
        ended_twice=sorted(n for n in ends if ends[n] > 1 or stateful[n] > 1),
        applied_twice=sorted(itertools.chain.from_iterable(map(_twice, states.values()))),
        unsuccessful=sorted(bad),
        letters=len(log.letters),
    )


def rows(log: Log) -> Rows:
    """The rows that ClickHouse has to show: each measurement and each version of a state once."""
    return Rows(
        events=len({entry.event.event_id for entry in log.measured}),
        transitions=len({(e.event.workflow_id, e.event.version) for e in log.states}),
        dead_letters=len(log.letters),
    )


def measurements(log: Log) -> Measurements:
    """The model calls that were measured; a measurement that comes again is the same one."""
    calls = {
        entry.event.event_id: entry.event
        for entry in log.measured
        if entry.event.operation is Operation.CHAT and entry.event.status is MeasuredStatus.OK
    }
    paid = [call for call in calls.values() if not call.replayed]
    return Measurements(
        paid=len(paid),
        replayed=len(calls) - len(paid),
        tokens=sum(call.input_tokens + call.output_tokens for call in paid),
    )


def _by_workflow(
    states: Iterable[Entry[WorkflowState]],
) -> Mapping[str, Sequence[WorkflowState]]:
    found: dict[str, list[WorkflowState]] = defaultdict(list)
    for entry in states:
        found[entry.event.workflow_id].append(entry.event)
    return found


def _times_ended(states: Sequence[WorkflowState]) -> int:
    """How often a workflow went from not ended to ended."""
    ended = [False, *(is_ended(state.status) for state in states)]
    return sum(after and not before for before, after in itertools.pairwise(ended))


def _twice(states: Sequence[WorkflowState]) -> Iterable[str]:
    """What in these states, in their order in the log, was applied more than once."""
    versions = Counter(state.version for state in states)
    for version, times in versions.items():
        if times > 1:
            yield f"{states[0].workflow_id} version {version}"
    applied: Counter[Attempt] = Counter()
    for before, after in itertools.pairwise(states):
        was = {task.task_id: task for task in before.tasks}
        for task in after.tasks:
            old = was[task.task_id]
            if old.status is TaskStatus.ASSIGNED and task.status is not TaskStatus.ASSIGNED:
                applied[after.workflow_id, task.task_id, old.attempt] += 1
    for attempt, times in applied.items():
        if times > 1:
            yield "/".join(map(str, attempt))


def _why(finished: WorkflowFinished) -> str:
    failure = finished.failure
    return f", {failure.error_type}: {failure.message[:200]}" if failure else ""
