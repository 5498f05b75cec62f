"""The client: submits requests, sends commands, follows results."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError

from crewstream.client import sizes
from crewstream.client.following import Reading, Start, read, unreachable
from crewstream.client.handle import Handle
from crewstream.client.results import Results, decoded
from crewstream.client.status import Status, StatusService
from crewstream.contracts import envelope
from crewstream.contracts.added import usual_file
from crewstream.contracts.codec import Codec
from crewstream.contracts.connection import KafkaConnection
from crewstream.contracts.events import (
    Command,
    ScheduleDefined,
    ScheduleState,
    WorkflowCommanded,
    WorkflowFinished,
    WorkflowRequested,
)
from crewstream.contracts.schemas import Schemas
from crewstream.contracts.topics import Topics
from crewstream.errors import InvalidRequest, InvalidTopics, TooLarge, Unreachable
from crewstream.records import Inbound
from crewstream.requests import read_request
from crewstream.topology import COMMANDS, FINISHED, REQUESTS, SCHEDULE_STATE, SCHEDULES

SOURCE = "crewstream.client"

Event = WorkflowRequested | WorkflowCommanded | ScheduleDefined


class Client:
    """A connection of another service to crewstream.

        async with Client("kafka-1:9092", tenant="acme") as crews:
            handle = await crews.submit({"project_id": "bizoholic", "tasks": [...]})
            finished = await handle.result(timeout_s=300)

    `prefix` is the installation's, `tenant` stands in for a request's missing one. `connection`
    has the credentials of a secured cluster and then stands for `bootstrap`. `status_url` is the
    projector's, `topics` the installation's own topics.yaml when it has one, `projects` its
    projects.yaml, by default that of this user. Entering raises Unreachable when Kafka does not
    answer.
    """

    def __init__(
        self,
        bootstrap: str = "127.0.0.1:9092",
        *,
        prefix: str = "crewstream",
        tenant: str = "",
        status_url: str = "http://127.0.0.1:8184",
        connection: KafkaConnection | None = None,
        topics: Path | None = None,
        projects: Path | None = None,
    ) -> None:
        self._connection = connection or KafkaConnection(bootstrap)
        self._tenant = tenant
        self._status = StatusService(status_url)
        self._topics = Topics.load(topics, prefix=prefix, added=projects or usual_file())
        self._codec = Codec(Schemas.load())
        self._followed: dict[str, Results] = {}
        self._producer: AIOKafkaProducer | None = None

    async def __aenter__(self) -> Self:
        producer = AIOKafkaProducer(
            acks="all",
            enable_idempotence=True,
            compression_type="lz4",
            # Our own check names the topic and its limit; aiokafka's is one for all of them.
            max_request_size=sizes.largest_record(self._topics.all()),
            **self._connection.arguments(),
        )
        try:
            with unreachable(self._connection):
                await producer.start()
        except Unreachable:
            await producer.stop()
            raise
        self._producer = producer
        return self

    async def __aexit__(self, *_: object) -> None:
        for results in self._followed.values():
            await results.close()
        if self._producer is not None:
            await self._producer.stop()

    async def submit(
        self, request: WorkflowRequested | Mapping[str, object], *, traceparent: str = ""
    ) -> Handle:
        """Ask for a workflow; returns when the brokers have it safe.

        `request` is the event, or a document in its form or in that of the examples. Submitting
        again with the same `workflow_id` is safe: it stays one workflow with one result.
        Raises InvalidRequest, which names every fault of shape, TooLarge, Unreachable.
        """
        event = self._event(request)
        topic = self._of_project(REQUESTS, event.project_id)
        chosen = isinstance(request, WorkflowRequested) or bool(request.get("workflow_id"))
        # Expected before it is sent: a quick result must find its waiter.
        results = self._results(event.project_id)
        arrival = await results.expect(event.workflow_id)
        await self._send(
            topic, event, event.workflow_id, row=event.workflow_id, traceparent=traceparent
        )
        return Handle(
            event.workflow_id,
            event.project_id,
            results,
            self._status,
            arrival,
            may_be_old=chosen,
        )

    def handle(self, workflow_id: str, project: str) -> Handle:
        """A handle on a workflow that was submitted elsewhere or earlier.

        finished = await crews.handle("order-4711", "coreldove").result()
        """
        return Handle(workflow_id, project, self._results(project), self._status)

    async def results(
        self,
        project: str,
        *,
        start: Start = "now",
        group: str | None = None,
        follow: bool = True,
    ) -> AsyncGenerator[WorkflowFinished, None]:
        """The results of a project: from now, from the beginning, or where a group has left off.

            async for finished in crews.results("bizoholic", group="invoicing"):
                await invoice(finished)

        "Now" is when the first one is asked for. A group's result counts as done when the next
        one is asked for; after a crash the last ones come again (at least once). `start` is then
        for a new group. Without `follow` it ends with what is there. Raises Unreachable.
        """
        reading = Reading(self._of_project(FINISHED, project), start, group, follow)
        async with aclosing(read(self._connection, reading)) as records:
            async for record in records:
                if (finished := decoded(self._codec, record)) is not None:
                    yield finished

    async def command(
        self,
        workflow_id: str,
        command: Literal["pause", "resume", "cancel", "retry", "approve", "reject"],
        *,
        task_id: str = "",
        reason: str = "",
        issued_by: str = "",
        feedback: str = "",
    ) -> str:
        """Change the course of a workflow; returns the command's id when the brokers have it safe.

            await crews.command("order-4711", "cancel", reason="customer withdrew")
            await crews.command("order-4711", "approve", task_id="letter", feedback="Shorter.")

        `feedback` goes with approve, to a crew that asks: empty says that its work is good.

        Raises TooLarge, Unreachable.
        """
        event = WorkflowCommanded(
            command_id=uuid.uuid4().hex,
            workflow_id=workflow_id,
            tenant_id=self._tenant,
            command=Command(command),
            task_id=task_id,
            reason=reason,
            issued_by=issued_by,
            issued_at=datetime.now(UTC),
            feedback=feedback,
        )
        await self._send(self._topics.full(COMMANDS), event, event.command_id, row=workflow_id)
        return event.command_id

    async def schedule(
        self,
        schedule_id: str,
        request: WorkflowRequested | Mapping[str, object],
        *,
        cron: str,
        timezone: str = "UTC",
        missed: Literal["latest", "skip", "all"] = "latest",
        defined_by: str = "",
    ) -> None:
        """Ask for a workflow again and again; returns when the brokers have it safe.

            await crews.schedule("nightly", {"project_id": …}, cron="0 2 * * *")

        `cron` has five fields, read in the IANA time zone; `missed` says what becomes of times that
        pass while no coordinator runs. The same id again changes the schedule. Raises
        InvalidRequest, InvalidSchedule, which names every fault, TooLarge, Unreachable.
        """
        # Who has no schedules need not load what checks them.
        from crewstream.client import schedules  # noqa: PLC0415

        event = schedules.defined(
            self._event(request),
            self._topics,
            schedule_id=schedule_id,
            times=schedules.Times(cron, timezone, missed),
            defined_by=defined_by,
        )
        await self.define(event)

    async def unschedule(self, schedule_id: str, *, defined_by: str = "") -> None:
        """End a schedule; one that is not there is ended already. Raises Unreachable."""
        from crewstream.client import schedules  # noqa: PLC0415

        await self.define(schedules.removed(schedule_id, defined_by))

    async def define(self, event: ScheduleDefined) -> None:
        """Add, change or remove a schedule, as the event says. Raises TooLarge, Unreachable."""
        from crewstream.domain.schedule import row_of  # noqa: PLC0415

        topic, row = self._topics.full(SCHEDULES), row_of(event.schedule_id)
        await self._send(topic, event, uuid.uuid4().hex, row=row)

    async def schedules(self) -> Sequence[ScheduleState]:
        """Where each schedule is, by its id. Raises Unreachable."""
        from crewstream.client import schedules  # noqa: PLC0415

        records = self.records(self._topics.full(SCHEDULE_STATE), start="beginning", follow=False)
        return await schedules.standing(self._codec, records)

    async def status(self, workflow_id: str) -> Status | None:
        """Where a workflow is, as the status service knows it; None: it knows none.

        Raises Unreachable.
        """
        return await self._status.one(workflow_id)

    async def list(
        self, *, project: str = "", status: str = "", tenant: str = "", limit: int = 50
    ) -> Sequence[Status]:
        """The workflows that were accepted last, newest first; "" takes any. Raises Unreachable."""
        return await self._status.many(project=project, status=status, tenant=tenant, limit=limit)

    def records(
        self, topic: str, *, start: Start = "now", follow: bool = True
    ) -> AsyncGenerator[Inbound, None]:
        """The records of any topic, as they are, by its name in Kafka. Raises Unreachable."""
        return read(self._connection, Reading(topic, start, follow=follow))

    def _event(self, request: WorkflowRequested | Mapping[str, object]) -> WorkflowRequested:
        if isinstance(request, WorkflowRequested):
            return request
        return read_request(
            request, tenant=self._tenant, now=datetime.now(UTC), unique=uuid.uuid4().hex
        )

    def _results(self, project: str) -> Results:
        topic = self._of_project(FINISHED, project)
        if project not in self._followed:
            self._followed[project] = Results(self._connection, topic, self._codec)
        return self._followed[project]

    def _of_project(self, template: str, project: str) -> str:
        try:
            return self._topics.full(template, project)
        except InvalidTopics:
            known = ", ".join(self._topics.projects)
            raise InvalidRequest(f"there is no project {project!r}; known: {known}") from None

    async def _send(
        self, topic: str, event: Event, event_id: str, *, row: str, traceparent: str = ""
    ) -> None:
        if self._producer is None:
            raise Unreachable("the client is not open: use `async with Client(…) as crews:`")
        value = self._codec.encode(event)
        sizes.check(self._topics.topic(topic), f"{type(event).__name__} {row}", value)
        headers = envelope.headers_for(
            type(event).__name__,
            id=event_id,
            source=SOURCE,
            subject=row,
            time=datetime.now(UTC),
            tenant_id=self._tenant if isinstance(event, ScheduleDefined) else event.tenant_id,
            correlation_id=row,
            traceparent=traceparent,
        )
        try:
            with unreachable(self._connection):
                await self._producer.send_and_wait(topic, value, key=row.encode(), headers=headers)
        except Unreachable as error:
            if isinstance(error.__cause__, MessageSizeTooLargeError):
                raise TooLarge(f"{topic} takes no record of {len(value)} bytes") from error
            raise Unreachable(
                f"{type(event).__name__} {row} was not confirmed; to send it again "
                f"under the same id is safe: {error}"
            ) from error
