"""How many workflows a tenant runs at once: a row for each tenant, with a queue of rows behind it.

Every row of a tenant stands in one partition, so its limits hold exactly, whatever the number of
coordinators. Tenants without limits never come here.

A change is of several rows, of which a crash may leave only the first ones written. So the tenant's
row is the first, and holds what is to become of the others (a redo log).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import quote

from crewstream import topology
from crewstream.contracts.codec import Codec
from crewstream.contracts.events import (
    AdmissionEntry as Entry,
)
from crewstream.contracts.events import (
    AdmissionState,
    Signal,
    WorkflowSignalled,
    WorkflowState,
)
from crewstream.contracts.limits import Limits, TenantLimits
from crewstream.contracts.topics import Topics
from crewstream.ports import Rows
from crewstream.processors.coordinator.outbox import Outbox, told
from crewstream.records import Inbound, Outbound

TENANT = "/tenant/"
_GONE = -1
"""Tasks of a workflow that left the queue before its turn; its row goes when it is passed."""


class Admission:
    """Gives places, keeps the queue, takes places back. `limits` is asked each time."""

    def __init__(
        self, codec: Codec, topics: Topics, outbox: Outbox, limits: Callable[[], Limits]
    ) -> None:
        self._codec, self._outbox, self._limits = codec, outbox, limits
        self._topic = topics.full(topology.ADMISSION)

    def enter(self, state: WorkflowState) -> Outbound:
        """Ask for a place for a workflow."""
        return self._ask(Signal.ADMISSION_REQUESTED, state)

    def leave(self, state: WorkflowState) -> Outbound:
        """Give its place, or its wish for one, back."""
        return self._ask(Signal.ADMISSION_RELEASED, state)

    def requested(
        self, signal: WorkflowSignalled, record: Inbound, rows: Rows
    ) -> Iterator[Outbound]:
        """A workflow asks for a place; one that has it already is told so again."""
        queue = _Queue(self, signal.tenant_id, rows)
        known = queue.entry(signal.source_workflow_id)
        if known is None:
            yield from self._first_time(queue, signal, record)
        elif known.tasks == _GONE:
            queue.come_back(known, signal.tasks)
        elif known.granted:
            yield self._answer(Signal.ADMISSION_GRANTED, known.workflow_id, signal, record)
        yield from queue.written()

    def released(
        self, signal: WorkflowSignalled, record: Inbound, rows: Rows
    ) -> Iterator[Outbound]:
        """A workflow has ended: its place goes to the next."""
        queue = _Queue(self, signal.tenant_id, rows)
        if queue.leave(signal.source_workflow_id):
            for workflow_id in queue.admitted(self._limits().tenant(signal.tenant_id)):
                yield self._answer(Signal.ADMISSION_GRANTED, workflow_id, signal, record)
        yield from queue.written()

    def _first_time(
        self, queue: _Queue, signal: WorkflowSignalled, record: Inbound
    ) -> Iterator[Outbound]:
        limits, workflow_id = self._limits().tenant(signal.tenant_id), signal.source_workflow_id
        may_wait = (
            limits.when_over == "wait" and queue.tenant.waiting < limits.max_waiting_workflows
        )
        if not queue.tenant.waiting and queue.fits(signal.tasks, limits):
            queue.take(workflow_id, signal.tasks)
            yield self._answer(Signal.ADMISSION_GRANTED, workflow_id, signal, record)
        elif may_wait:
            queue.join(workflow_id, signal.tasks)
        else:
            yield self._answer(Signal.ADMISSION_REFUSED, workflow_id, signal, record)

    def _ask(self, kind: Signal, state: WorkflowState) -> Outbound:
        to, tasks = TENANT + quote(state.tenant_id, safe=""), len(state.tasks)
        at = state.updated_at
        signal = told(kind, to, state.workflow_id, state.tenant_id, at, tasks=tasks)
        return self._outbox.signal(signal)

    def _answer(
        self, kind: Signal, workflow_id: str, signal: WorkflowSignalled, record: Inbound
    ) -> Outbound:
        answer = told(kind, workflow_id, signal.workflow_id, signal.tenant_id, record.at)
        return self._outbox.signal(answer)

    def read(self, rows: Rows, key: str) -> AdmissionState | None:
        """A row of a tenant or of one of its workflows."""
        value = rows.get(self._topic, key.encode())
        return None if value is None else self._codec.decode(value, AdmissionState)

    def write(self, key: str, row: AdmissionState | None) -> Outbound:
        """The write of such a row; None deletes it."""
        value = None if row is None else self._codec.encode(row)
        return Outbound(self._topic, key.encode(), value)


class _Queue:
    """A tenant's rows while one signal is handled: a linked list, so that no row grows."""

    def __init__(self, table: Admission, tenant_id: str, rows: Rows) -> None:
        self._table, self._rows, self._tenant_id = table, rows, tenant_id
        self._key = TENANT + quote(tenant_id, safe="")
        self._changed: dict[str, Entry | None] = {}
        found = table.read(rows, self._key)
        self.tenant = self._before = found or AdmissionState(tenant_id=tenant_id)

    def entry(self, workflow_id: str) -> Entry | None:
        """The row of a workflow, as the last change left it."""
        if workflow_id in self._changed:
            return self._changed[workflow_id]
        for entry in self._before.redo:
            if entry.workflow_id == workflow_id:
                return None if entry.deleted else entry
        return self._stored(workflow_id)

    def fits(self, tasks: int, limits: TenantLimits) -> bool:
        """Whether one more workflow with so many tasks may run; one alone always may."""
        most, room = limits.max_running_workflows, limits.max_open_tasks
        running = most is None or self.tenant.running < most
        return running and (
            room is None or not self.tenant.tasks or self.tenant.tasks + tasks <= room
        )

    def take(self, workflow_id: str, tasks: int) -> None:
        """Give a place."""
        self._count(running=1, tasks=tasks)
        self._changed[workflow_id] = Entry(workflow_id=workflow_id, tasks=tasks, granted=True)

    def join(self, workflow_id: str, tasks: int) -> None:
        """Put at the end of the queue."""
        last = self.tenant.last
        if last and (behind := self.entry(last)) is not None:
            self._changed[last] = behind.changed({"next": workflow_id})
        first = self.tenant.first or workflow_id
        self.tenant = self.tenant.changed({"first": first, "last": workflow_id})
        self._count(waiting=1)
        self._changed[workflow_id] = Entry(workflow_id=workflow_id, tasks=tasks)

    def come_back(self, entry: Entry, tasks: int) -> None:
        """One that left the queue, and has not been passed since, has its old place in it."""
        self._changed[entry.workflow_id] = entry.changed({"tasks": tasks})
        self._count(waiting=1)

    def leave(self, workflow_id: str) -> bool:
        """Take a place back, or a wish for one; False when there is neither."""
        entry = self.entry(workflow_id)
        if entry is None or entry.tasks == _GONE:
            return False
        if entry.granted:
            self._count(running=-1, tasks=-entry.tasks)
            self._changed[workflow_id] = None
        else:
            self._count(waiting=-1)
            self._changed[workflow_id] = entry.changed({"tasks": _GONE})
        return True

    def admitted(self, limits: TenantLimits) -> Iterator[str]:
        """Those at the head of the queue for whom there is room now, who get their places."""
        while self.tenant.first and (entry := self.entry(self.tenant.first)) is not None:
            gone = entry.tasks == _GONE
            if not gone and not self.fits(entry.tasks, limits):
                return
            last = "" if not entry.next else self.tenant.last
            self.tenant = self.tenant.changed({"first": entry.next, "last": last})
            if gone:
                self._changed[entry.workflow_id] = None
                continue
            self._count(waiting=-1)
            self.take(entry.workflow_id, entry.tasks)
            yield entry.workflow_id

    def written(self) -> Iterator[Outbound]:
        """The writes of all that changed, and of what a crash left out of the last change."""
        for entry in self._before.redo:
            wanted = None if entry.deleted else entry
            if entry.workflow_id not in self._changed and wanted != self._stored(entry.workflow_id):
                yield self._row(entry.workflow_id, wanted)
        if self._changed:
            redo = tuple(
                entry or Entry(workflow_id=name, deleted=True)
                for name, entry in self._changed.items()
            )
            yield self._table.write(self._key, self.tenant.changed({"redo": redo}))
        for workflow_id, changed in self._changed.items():
            yield self._row(workflow_id, changed)

    def _stored(self, workflow_id: str) -> Entry | None:
        row = self._table.read(self._rows, f"{self._key}/{workflow_id}")
        if row is None:
            return None
        return Entry(workflow_id=workflow_id, tasks=row.tasks, next=row.next, granted=row.granted)

    def _row(self, workflow_id: str, entry: Entry | None) -> Outbound:
        row = None
        if entry is not None:
            row = AdmissionState(
                tenant_id=self._tenant_id,
                workflow_id=workflow_id,
                tasks=entry.tasks,
                next=entry.next,
                granted=entry.granted,
            )
        return self._table.write(f"{self._key}/{workflow_id}", row)

    def _count(self, *, running: int = 0, tasks: int = 0, waiting: int = 0) -> None:
        now = self.tenant
        self.tenant = now.changed(
            {
                "running": now.running + running,
                "tasks": now.tasks + tasks,
                "waiting": now.waiting + waiting,
            }
        )
