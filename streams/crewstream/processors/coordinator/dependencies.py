"""Workflows that wait for other workflows: who is told of whose end, and cycles among them.

A workflow asks the row of each one that it waits for (`dependency_watched`). Where that one waits
for others in turn, a probe goes on to these, with the path so far; one that comes back to where it
began has found a cycle.
Source: Chandy, Misra, Haas, Distributed deadlock detection, ACM TOCS 1 (1983): edge chasing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from crewstream import topology
from crewstream.contracts.codec import Codec
from crewstream.contracts.events import (
    Signal,
    Watcher,
    WorkflowFinished,
    WorkflowSignalled,
    WorkflowState,
    WorkflowWatched,
)
from crewstream.contracts.topics import Topics
from crewstream.domain import gates, policy
from crewstream.ports import Rows
from crewstream.processors.coordinator.outbox import Outbox, told
from crewstream.records import Inbound, Outbound

MOST_PATH = 100
# All of them are told at once when it ends, each with its result.
MOST_WATCHERS = 1000

Find = Callable[[Rows, str], WorkflowState | None]
Finished = Callable[[WorkflowState, Rows], WorkflowFinished]


class Dependencies:
    """The rows that say who waits for a workflow, in that workflow's partition.

    `find` brings a workflow's row, `finished` the result of one that has ended.
    """

    def __init__(
        self, codec: Codec, topics: Topics, outbox: Outbox, *, find: Find, finished: Finished
    ) -> None:
        self._codec, self._outbox, self._find, self._finished = codec, outbox, find, finished
        self._watches = topics.full(topology.WATCHES)

    def watch(self, state: WorkflowState, workflow_id: str) -> Outbound:
        """Ask another workflow's row to tell when it ends."""
        kind = Signal.DEPENDENCY_WATCHED
        path = (state.workflow_id,)
        return self._tell(kind, workflow_id, state, path=path)

    def unwatch(self, state: WorkflowState, workflow_id: str) -> Outbound:
        """Its end is not of interest any more."""
        return self._tell(Signal.DEPENDENCY_UNWATCHED, workflow_id, state)

    def watched(self, signal: WorkflowSignalled, record: Inbound, rows: Rows) -> Iterator[Outbound]:
        """Somebody waits for this workflow, which may have ended, or not be known yet."""
        state = self._find(rows, signal.workflow_id)
        theirs = state is not None and state.tenant_id == signal.tenant_id
        watcher = Watcher(workflow_id=signal.source_workflow_id, tenant_id=signal.tenant_id)
        if state is not None and theirs and policy.is_ended(state.status):
            yield self._resolved(state, self._finished(state, rows), watcher)
            return
        watchers = self._watchers(rows, signal.workflow_id)
        if watcher not in watchers and len(watchers) == MOST_WATCHERS:
            to, at = watcher.workflow_id, record.at
            refusal = told(Signal.DEPENDENCY_REFUSED, to, signal.workflow_id, signal.tenant_id, at)
            yield self._outbox.signal(refusal)
            return
        if watcher not in watchers:
            yield self._row(signal.workflow_id, (*watchers, watcher))
        if theirs:
            yield from self.probed(signal, record, rows)

    def unwatched(
        self, signal: WorkflowSignalled, _record: Inbound, rows: Rows
    ) -> Iterator[Outbound]:
        """Somebody waits no longer."""
        watchers = self._watchers(rows, signal.workflow_id)
        left = tuple(w for w in watchers if w.workflow_id != signal.source_workflow_id)
        if left != watchers:
            yield self._row(signal.workflow_id, left)

    def probed(self, signal: WorkflowSignalled, _record: Inbound, rows: Rows) -> Iterator[Outbound]:
        """A chain of workflows that wait for one another has come to this one."""
        state = self._find(rows, signal.workflow_id)
        if state is None or policy.is_ended(state.status) or not signal.path:
            return
        path = (*signal.path, state.workflow_id)
        if signal.path[0] == state.workflow_id:
            # Each member may find the cycle; all agree on the one that is refused.
            yield self._tell(Signal.DEPENDENCY_REFUSED, max(path), state, path=path)
        elif state.workflow_id not in signal.path and len(path) <= MOST_PATH:
            for each in gates.unresolved(state):
                yield self._tell(Signal.DEPENDENCY_PROBED, each.workflow_id, state, path=path)

    def ended(
        self, state: WorkflowState, finished: WorkflowFinished, rows: Rows
    ) -> Iterator[Outbound]:
        """Tell those who waited, once."""
        watchers = self._watchers(rows, state.workflow_id)
        for watcher in watchers:
            if watcher.tenant_id == state.tenant_id:
                yield self._resolved(state, finished, watcher)
        if watchers:
            yield self._row(state.workflow_id, ())

    def _resolved(
        self, state: WorkflowState, finished: WorkflowFinished, watcher: Watcher
    ) -> Outbound:
        kind, status = Signal.DEPENDENCY_RESOLVED, str(state.status)
        _, result = self._outbox.fitted(finished)
        return self._tell(kind, watcher.workflow_id, state, status=status, result=result)

    def _tell(self, kind: Signal, to: str, state: WorkflowState, **more: object) -> Outbound:
        signal = told(kind, to, state.workflow_id, state.tenant_id, state.updated_at, **more)
        return self._outbox.signal(signal)

    def _watchers(self, rows: Rows, workflow_id: str) -> tuple[Watcher, ...]:
        value = rows.get(self._watches, workflow_id.encode())
        return () if value is None else self._codec.decode(value, WorkflowWatched).watchers

    def _row(self, workflow_id: str, watchers: Sequence[Watcher]) -> Outbound:
        watched = WorkflowWatched(workflow_id=workflow_id, watchers=tuple(watchers))
        value = self._codec.encode(watched) if watchers else None
        return Outbound(self._watches, workflow_id.encode(), value)
