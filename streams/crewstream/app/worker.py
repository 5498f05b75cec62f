"""The worker's process: its Faust app, its runners, and the announcement of what they can run."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime

from crewstream import topology
from crewstream.adapters.progress import RedisProgress
from crewstream.adapters.prometheus import Metrics
from crewstream.adapters.redis import RedisOutcomes, connect
from crewstream.adapters.sender import Sender, sender
from crewstream.adapters.standings import Standings
from crewstream.app import describe_projects
from crewstream.app.common import options, probes, topics_of
from crewstream.app.resources import Telling
from crewstream.config import Settings
from crewstream.contracts.codec import Codec
from crewstream.contracts.events import CrewDescribed, ProjectDescribed, TaskDescribed
from crewstream.contracts.limits import Limits
from crewstream.contracts.models import Models
from crewstream.contracts.schemas import Schemas
from crewstream.contracts.topics import Topics
from crewstream.domain.runs import run_policy
from crewstream.domain.window import Window
from crewstream.errors import Misconfigured
from crewstream.ports import CrewRuns
from crewstream.processors.cancellations import KEPT, Cancellations, WantedRuns
from crewstream.processors.intake import Intake
from crewstream.processors.worker import Worker
from crewstream.records import Outbound
from crewstream.runtime.broadcast import Broadcast
from crewstream.runtime.connection import wait_for_topics
from crewstream.runtime.dispatcher import Dispatcher, Held
from crewstream.runtime.health import Health
from crewstream.runtime.serve import serve
from crewstream.runtime.worker_app import WorkerApplication, worker_app
from crewstream_agents.policy import Policy
from crewstream_agents.spec import ProjectDescription

_log = logging.getLogger(__name__)


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
    policy = run_policy(limits, Models.load(settings.models))
    progress = RedisProgress(redis, settings.prefix)
    name = f"{socket.gethostname()}/{os.getpid()}"
    async with _crew_runs(settings, limits, policy, progress) as crews:
        cancelled = Cancellations(avro, crews.runs, WallClock())
        processor = Worker(
            avro,
            topics,
            runs=WantedRuns(crews.runs, cancelled, WallClock()),
            outcomes=outcomes,
            clock=WallClock(),
            meter=metrics,
            name=name,
            limits=limits,
            standings=Standings(redis, settings.prefix),
        )
        app = worker_app(
            settings.kafka,
            options(settings, topics, "worker"),
            processor,
            topics=[topics.full(topology.TASKS, each.project_id) for each in described],
            limit=crews.slots,
            window=_window(limits, crews.at_once),
            describe=Intake(avro).describe,
            unwanted=cancelled.__contains__,
        )
        cancelled.withdraw = app.dispatcher.withdraw
        app.probes.append(lambda: {outcomes.problem} if outcomes.problem else set())
        health = _health(app, metrics, [each.project_id for each in described])
        async with probes(settings, "worker", health, metrics, app.behind):
            await wait_for_topics(settings.kafka, [topics.full(topology.CATALOGUE)])
            async with sender(settings.kafka) as out:
                await _announce(topics, avro, described, out)
                metrics_topic, every_s = topics.full(topology.METRICS), settings.worker_resources_s
                telling = Telling(out, avro, metrics_topic, name, every_s)
                async with crews.watched(app.dispatcher, metrics, telling):
                    code = await _serve(settings, topics, app, cancelled)
    await redis.aclose()
    return code


def _window(limits: Limits, at_once: Callable[[str], int | None]) -> Window[Held]:
    def most(project: str) -> int | None:
        found = [n for n in (limits.project(project).max_tasks, at_once(project)) if n is not None]
        return min(found, default=None)

    return Window(lambda tenant: limits.tenant(tenant).weight, most)


def _health(
    app: WorkerApplication, metrics: Metrics, projects: Sequence[str]
) -> Callable[[], Health]:
    """The app's health, and what its window holds as metrics."""

    def now() -> Health:
        queued, backlog_s = app.dispatcher.queued(), app.dispatcher.backlog_s()
        for project in projects:
            metrics.gauge("crewstream_window_jobs", queued[project], project=project)
            metrics.gauge(
                "crewstream_backlog_seconds", backlog_s.get(project, 0.0), project=project
            )
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
    found = describe_projects(settings.projects, topics.projects, settings.shown_to_crews)
    if not found:
        raise Misconfigured(
            f"no project of topics.yaml ({', '.join(topics.projects)}) is installed here: install"
            " a distribution with an entry point in the group crewstream.projects, or add a folder"
            " with `crewstream projects add`"
        )
    return found


@dataclass(frozen=True, slots=True)
class _Crews:
    """What runs crews, how many at once at first and of a project, what watches over that."""

    runs: CrewRuns
    slots: int
    at_once: Callable[[str], int | None]
    watched: Callable[[Dispatcher, Metrics, Telling], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def _crew_runs(
    settings: Settings, limits: Limits, policy: Policy, progress: RedisProgress
) -> AsyncIterator[_Crews]:
    if settings.worker_runs == "echo":
        from crewstream.testing import EchoRuns  # noqa: PLC0415  (measurements and drills only)

        slots = settings.runners(os.cpu_count() or 1)[0] * settings.worker_concurrency
        yield _Crews(EchoRuns(), slots, lambda _: None, lambda *_: nullcontext())
        return
    from crewstream.app import runners  # noqa: PLC0415  (not for an echo)

    async with runners.started(settings, limits, policy, progress.tell) as pool:
        slots = pool.bounds.least * pool.bounds.concurrency
        yield _Crews(pool.runs, slots, pool.at_once, pool.watched)


async def _announce(
    topics: Topics, avro: Codec, projects: Iterable[ProjectDescription], out: Sender
) -> None:
    name = topics.full(topology.CATALOGUE)
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
