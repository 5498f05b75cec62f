"""Requests and results of workflows: small ones within the row, others beside it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from crewstream import topology
from crewstream.contracts.codec import Codec
from crewstream.contracts.events import (
    TaskFinished,
    WorkflowFinished,
    WorkflowRequested,
    WorkflowState,
)
from crewstream.contracts.topics import Topics
from crewstream.domain import grain, outputs, references, upstream
from crewstream.ports import Rows
from crewstream.records import Outbound

REQUEST = ""
AWAITED = "@"
"""In front of the id of another workflow, which no task's id has."""

# A row is written at each transition: what would make it grow has a record of its own.
MOST_INLINE_BYTES = 2048
MOST_ROW_BYTES = 6144


class Payloads:
    """Reads and places payloads; each is the value of a record as it came."""

    def __init__(self, codec: Codec, topics: Topics) -> None:
        self._codec = codec
        self._topic = topics.full(topology.PAYLOADS)

    def request(self, state: WorkflowState, rows: Rows) -> WorkflowRequested:
        """The request of an open workflow."""
        return self._codec.decode(self._find(state, REQUEST, rows), WorkflowRequested)

    def results(
        self, state: WorkflowState, task_ids: Iterable[str], rows: Rows, new: TaskFinished | None
    ) -> dict[str, TaskFinished]:
        """The last result of each of these tasks that has one; `new` is in hand."""
        found: dict[str, TaskFinished] = {}
        for task_id in task_ids:
            if new is not None and new.task_id == task_id:
                found[task_id] = new
            elif value := self._find(state, task_id, rows):
                found[task_id] = self._codec.decode(value, TaskFinished)
        return found

    def awaited(
        self, state: WorkflowState, workflow_id: str, rows: Rows
    ) -> WorkflowFinished | None:
        """How another workflow ended that this one waited for."""
        value = self._find(state, AWAITED + workflow_id, rows)
        return None if value is None else self._codec.decode(value, WorkflowFinished)

    def filled(
        self,
        inputs: str,
        state: WorkflowState,
        request: WorkflowRequested,
        rows: Rows,
        new: TaskFinished | None,
    ) -> str:
        """Inputs with outputs in place of references.

        Raises Unresolved, and RecursionError where they are nested too deeply.
        """

        def find(reference: references.Reference) -> references.Document | None:
            if reference.workflow:
                other = self.awaited(state, reference.workflow, rows)
                return None if other is None else outputs.document(other, reference.task)
            names = grain.parts_of(request, reference.task)
            result = upstream.outcome([*self.results(state, names, rows, new).values()])
            if result is None:
                return None
            return references.document(result.status, result.output, result.output_json)

        return json.dumps(references.filled(json.loads(inputs), find))

    def check(self, finished: bytes) -> None:
        """Raises Invalid: these bytes are not how a workflow ended."""
        self._codec.decode(finished, WorkflowFinished)

    def placed(
        self, state: WorkflowState, name: str, value: bytes | None
    ) -> tuple[WorkflowState, list[Outbound]]:
        """The row with the payload in it, or the record to write beside it."""
        kept = {k: v for k, v in state.payloads.items() if k != name}
        if value is None:
            return state, []
        size = len(value)
        if size <= MOST_INLINE_BYTES and size + sum(map(len, kept.values())) <= MOST_ROW_BYTES:
            return state.changed({"payloads": {**kept, name: value}}), []
        return state.changed({"payloads": kept}), [Outbound(self._topic, _key(state, name), value)]

    def done(self, state: WorkflowState, rows: Rows) -> tuple[WorkflowState, list[Outbound]]:
        """Let go of the request of a workflow that has completed: it cannot be retried."""
        kept = {k: v for k, v in state.payloads.items() if k != REQUEST}
        key = _key(state, REQUEST)
        beside = rows.get(self._topic, key) is not None
        return state.changed({"payloads": kept}), [Outbound(self._topic, key, None)][:beside]

    def forget(self, state: WorkflowState, rows: Rows) -> Iterator[Outbound]:
        """Delete what is beside a row that goes."""
        names = [REQUEST, *(task.task_id for task in state.tasks)]
        names += [AWAITED + each.workflow_id for each in state.after]
        for name in names:
            key = _key(state, name)
            if rows.get(self._topic, key) is not None:
                yield Outbound(self._topic, key, None)

    def _find(self, state: WorkflowState, name: str, rows: Rows) -> bytes | None:
        return state.payloads.get(name) or rows.get(self._topic, _key(state, name))


class Written:
    """The rows as they will be when what is written beside them is stored."""

    def __init__(self, rows: Rows, written: Iterable[Outbound]) -> None:
        self._rows = rows
        self._written = {(out.topic, out.key): out.value for out in written}

    def get(self, topic: str, key: bytes) -> bytes | None:
        """The row of a table."""
        if (topic, key) in self._written:
            return self._written[topic, key]
        return self._rows.get(topic, key)


def _key(state: WorkflowState, name: str) -> bytes:
    return (f"{state.workflow_id}/{name}" if name else state.workflow_id).encode()
