"""The worker's process: its Faust app, its runners, and the announcement of what they can run."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from crewstream import config, topology
from crewstream.adapters.prometheus import Metrics
from crewstream.adapters.redis import RedisOutcomes, connect
from crewstream.adapters.sender import sender
from crewstream.app import describe_projects
from crewstream.app.common import options, probes, topics_of
from crewstream.config import Settings
from crewstream.contracts.codec import Codec
from crewstream.contracts.events import CrewDescribed, ProjectDescribed, TaskDescribed
from crewstream.contracts.limits import Limits
from crewstream.contracts.schemas import Schemas
from crewstream.contracts.topics import Topics
from crewstream.domain.window import Window
from crewstream.errors import Misconfigured
from crewstream.ports import CrewRuns
from crewstream.processors.cancellations import KEPT, Cancellations, WantedRuns
from crewstream.processors.intake import Intake
from crewstream.processors.worker import Worker
from crewstream.records import Outbound
from crewstream.runtime.broadcast import Broadcast
from crewstream.runtime.connection import wait_for_topics
from crewstream.runtime.dispatcher import Held
from crewstream.runtime.health import Health
from crewstream.runtime.serve import serve
from crewstream.runtime.worker_app import WorkerApplication, worker_app
from crewstream_agents.spec import JournalPlace, ModelPrice, ProjectDescription


class WallClock:
    """The time of day."""

    def now(self) -> datetime:
        """The time, in UTC."""
        return datetime.now(UTC)


async def run(settings: Settings) -> int:
    """Assignments -> crew runs -> results and measurements."""
    topics, avro, metrics = topics_of(settings), Codec(Schemas.load()), Metrics()
    described, limits = _described(settings, topics), Limits.load(settings.limits)
    redis = connect(settings.redis_url.get_secret_value())
    outcomes = RedisOutcomes(redis, settings.prefix)
    async with _crew_runs(settings, limits) as runs:
        cancelled = Cancellations(avro, runs, WallClock())
        processor = Worker(
            avro,
            topics,
            runs=WantedRuns(runs, cancelled, WallClock()),
            outcomes=outcomes,
            clock=WallClock(),
            meter=metrics,
            name=f"{socket.gethostname()}/{os.getpid()}",
            limits=limits,
        )
        app = worker_app(
            settings.kafka,
            options(settings, topics, "worker"),
            processor,
            topics=[topics.full(topology.TASKS, each.project_id) for each in described],
            limit=settings.runners * settings.worker_concurrency,
            window=_window(limits),
            describe=Intake(avro).describe,
            unwanted=cancelled.__contains__,
        )
        cancelled.withdraw = app.dispatcher.withdraw
        app.probes.append(lambda: {outcomes.problem} if outcomes.problem else set())
        health = _health(app, metrics, [each.project_id for each in described])
        async with probes(settings, "worker", health, metrics):
            await _announce(settings, topics, avro, described)
            code = await _serve(settings, topics, app, cancelled)
    await redis.aclose()
    return code


def _window(limits: Limits) -> Window[Held]:
    return Window(
        lambda tenant: limits.tenant(tenant).weight,
        lambda project: limits.project(project).max_tasks,
    )


def _health(
    app: WorkerApplication, metrics: Metrics, projects: Sequence[str]
) -> Callable[[], Health]:
    """The app's health, and what its window holds as metrics."""

    def now() -> Health:
        queued = app.dispatcher.queued()
        for project in projects:
            metrics.gauge("crewstream_window_jobs", queued[project], project=project)
        metrics.gauge("crewstream_window_bytes", app.open_bytes())
        return app.health()

    return now


async def _serve(
    settings: Settings, topics: Topics, app: WorkerApplication, cancelled: Cancellations
) -> int:
    """Serve once it is known what was cancelled lately, and follow what is from then on."""
    name = topics.full(topology.CANCELLATIONS)
    await wait_for_topics(settings.kafka, [name])
    async with Broadcast(
        settings.kafka,
        name,
        topics.partitions(name),
        cancelled.tell,
        back_s=KEPT.total_seconds(),
    ) as told:
        following = asyncio.create_task(told.follow())
        try:
            return await serve(app)
        finally:
            following.cancel()


def _described(settings: Settings, topics: Topics) -> Sequence[ProjectDescription]:
    """The projects that this worker serves: installed here, and named in topics.yaml."""
    if settings.worker_runs == "echo":
        return [ProjectDescription(name, name, ()) for name in topics.projects]
    found = describe_projects(settings.projects, topics.projects)
    if not found:
        raise Misconfigured(
            f"no project of topics.yaml ({', '.join(topics.projects)}) is installed here: install"
            " a distribution with an entry point in the group crewstream.projects, or add a folder"
            " with `crewstream projects add`"
        )
    return found


def _told_to_runners(settings: Settings) -> Mapping[str, str]:
    return {
        "CREWSTREAM_EXECUTOR": settings.executor,
        "CREWSTREAM_PROJECTS": str(settings.projects),
    }


@asynccontextmanager
async def _crew_runs(settings: Settings, limits: Limits) -> AsyncIterator[CrewRuns]:
    if settings.worker_runs == "echo":
        from crewstream.testing import EchoRuns  # noqa: PLC0415  (measurements and drills only)

        yield EchoRuns()
        return
    from crewstream_agents.pool import RunnerPool  # noqa: PLC0415  (not for an echo)

    environ = {**config.for_crews(), **_told_to_runners(settings)}
    pool = RunnerPool(
        settings.runners,
        settings.worker_concurrency,
        environ,
        journal=JournalPlace(settings.redis_url.get_secret_value(), settings.prefix),
        prices={name: ModelPrice(**dict(price)) for name, price in limits.prices.items()},
    )
    await pool.start()
    try:
        yield pool
    finally:
        await pool.close(settings.worker_grace_s)


async def _announce(
    settings: Settings, topics: Topics, avro: Codec, projects: Iterable[ProjectDescription]
) -> None:
    name = topics.full(topology.CATALOGUE)
    await wait_for_topics(settings.kafka, [name])
    async with sender(settings.kafka) as out:
        await out.send(
            Outbound(name, project.project_id.encode(), avro.encode(_event(project)))
            for project in projects
            if project.crews
        )


def _event(project: ProjectDescription) -> ProjectDescribed:
    return ProjectDescribed(
        project_id=project.project_id,
        title=project.title,
        crews=tuple(
            CrewDescribed(
                crew=crew.crew,
                description=crew.description,
                agents=tuple(crew.agents),
                kind=crew.kind,
                process=crew.process,
                inputs=tuple(crew.inputs),
                tasks=tuple(
                    TaskDescribed(
                        task_type=task.task_type,
                        description=task.description,
                        expected_output=task.expected_output,
                        agent=task.agent,
                        tools=tuple(task.tools),
                        depends_on=tuple(task.depends_on),
                        agents=tuple(task.agents),
                    )
                    for task in crew.tasks
                ),
            )
            for crew in project.crews
        ),
        announced_at=datetime.now(UTC),
    )
