"""What is asked of the installation: workflows of every shape, and records that are none."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from crewstream import topology
from crewstream.adapters.sender import sender
from crewstream.client import Client
from crewstream.contracts import framing
from crewstream.contracts.connection import KafkaConnection
from crewstream.contracts.events import AfterRequest, TaskRequest, WorkflowRequested
from crewstream.contracts.topics import Topics
from crewstream.errors import Unreachable
from crewstream.records import Outbound

PROJECT, SISTER = "drill", "drill-sister"
PROJECTS = (PROJECT, SISTER)
TENANT = "drill"
ATTEMPT_TIMEOUT_S = 180.0
# Of so many requests, one is sent twice: a producer that was not sure.
TWICE_EVERY = 10
# Of so many, one waits for another; no divisor of the shapes, so that each comes to wait.
WAITS_EVERY = 7
# What the model refuses with 429: a run asks once more, and no oftener. So the attempt fails, and
# the next one has to go on where it was.
REFUSALS = 2
AGAIN_AFTER_S = 1.0

Shape = Callable[["Maker"], Sequence[TaskRequest]]


class Maker:
    """Makes the tasks of one workflow."""

    def __init__(self, workflow_id: str, chance: random.Random) -> None:
        self.workflow_id, self._chance = workflow_id, chance

    def task(
        self,
        name: str,
        kind: str = "find",
        *,
        after: Sequence[str] = (),
        project: str = "",
        refuse: int = 0,
    ) -> TaskRequest:
        """A task of one to three tool calls; `kind` is a task of the crew chores, or survey."""
        inputs = {
            "ref": f"{self.workflow_id}/{name}",
            "steps": self._chance.randint(1, 3),
            "refuse": refuse,
        }
        whole = kind == "survey"
        return TaskRequest(
            task_id=name,
            project_id=project,
            crew="survey" if whole else "chores",
            task_type="" if whole else kind,
            depends_on=tuple(after),
            inputs=json.dumps(inputs),
            timeout_s=ATTEMPT_TIMEOUT_S,
        )


def single(make: Maker) -> Sequence[TaskRequest]:
    """One task."""
    return [make.task("only")]


def effect(make: Maker) -> Sequence[TaskRequest]:
    """One task whose tool has an effect outside."""
    return [make.task("post", "post")]


def words(make: Maker) -> Sequence[TaskRequest]:
    """One task whose agent calls tools in words."""
    return [make.task("reason", "reason")]


def at_once(make: Maker) -> Sequence[TaskRequest]:
    """One task whose crew calls the model in parallel."""
    return [make.task("survey", "survey")]


def refused(make: Maker) -> Sequence[TaskRequest]:
    """One task whose first attempt the model refuses in the middle, with 429."""
    return [make.task("refused", refuse=REFUSALS)]


def chain(make: Maker) -> Sequence[TaskRequest]:
    """Three tasks in a row, the last with an effect outside."""
    return [
        make.task("first"),
        make.task("second", "reason", after=["first"]),
        make.task("third", "post", after=["second"]),
    ]


def fan(make: Maker) -> Sequence[TaskRequest]:
    """One task, three at once behind it, one behind them."""
    middle = ["left", "centre", "right"]
    return [
        make.task("root"),
        *(make.task(name, after=["root"]) for name in middle),
        make.task("join", "post", after=middle),
    ]


def crossing(make: Maker) -> Sequence[TaskRequest]:
    """A task of each project, and one behind both."""
    return [
        make.task("here"),
        make.task("there", "post", project=SISTER),
        make.task("join", after=["here", "there"]),
    ]


SHAPES: Sequence[Shape] = (single, chain, effect, words, fan, refused, crossing, at_once)


def workflows(seed: int, count: int) -> Sequence[WorkflowRequested]:
    """So many requests, the same for the same seed; the shapes take turns.

    Now and then one waits for the one before it, which may be of the other project.
    """
    chance = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    made: list[WorkflowRequested] = []
    for number, shape in zip(range(count), itertools.cycle(SHAPES), strict=False):
        workflow_id = f"drill-{seed}-{number}-{shape.__name__.replace('_', '-')}"
        earlier = made[-1:] if number % WAITS_EVERY == WAITS_EVERY - 1 else []
        made.append(
            WorkflowRequested(
                workflow_id=workflow_id,
                tenant_id=TENANT,
                project_id=PROJECTS[number % 2],
                workflow_type=shape.__name__,
                requested_at=datetime.now(UTC),
                tasks=tuple(shape(Maker(workflow_id, chance))),
                after=tuple(AfterRequest(workflow_id=one.workflow_id) for one in earlier),
            )
        )
    return made


def sent(requests: Sequence[WorkflowRequested]) -> Iterator[WorkflowRequested]:
    """The requests as they are sent: some of them twice."""
    for number, request in enumerate(requests):
        yield request
        if number % TWICE_EVERY == 0:
            yield request


async def submit(client: Client, requests: Sequence[WorkflowRequested], over_s: float) -> None:
    """Send the requests evenly over so many seconds; returns when Kafka has confirmed them all.

    One that it does not confirm is sent again, as every producer should, and holds up no other.
    """

    async def insist(request: WorkflowRequested) -> None:
        while True:
            try:
                await client.submit(request)
            except Unreachable:
                await asyncio.sleep(AGAIN_AFTER_S)
            else:
                return

    async with asyncio.TaskGroup() as group:
        for request in sent(requests):
            group.create_task(insist(request))
            await asyncio.sleep(over_s / len(requests))


POISON: Sequence[tuple[str, bytes]] = (
    (topology.REQUESTS, b"\xde\xad\xbe\xef"),
    (topology.TASKS, framing.header(4_000_000) + b"of nobody"),
    (topology.RESULTS, b""),
)
"""Records that nobody can read, and the topics they are sent to."""


async def poison(connection: KafkaConnection, topics: Topics) -> int:
    """Send them; how many dead letters there must be. Raises Unreachable."""
    async with sender(connection) as out:
        await out.send(
            Outbound(topics.full(name, PROJECT if "{project}" in name else None), b"poison", value)
            for name, value in POISON
        )
    return len(POISON)
