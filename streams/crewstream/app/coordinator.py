"""The coordinator's process: its Faust app, and the catalogue of what workers can run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from crewstream import topology
from crewstream.adapters.prometheus import Metrics
from crewstream.app.common import avro_of, full_names, options, probes, topics_of
from crewstream.config import Settings
from crewstream.contracts.codec import Codec
from crewstream.contracts.events import ProjectDescribed
from crewstream.contracts.limits import Limits
from crewstream.contracts.topics import Topics
from crewstream.domain.grain import CrewShape, shape_of
from crewstream.domain.plan import Crews, Rules
from crewstream.errors import Undecodable
from crewstream.processors.coordinator import Coordinator
from crewstream.runtime.application import Application
from crewstream.runtime.compacted import CompactedTopic
from crewstream.runtime.connection import wait_for_topics
from crewstream.runtime.coordinator_app import coordinator_app
from crewstream.runtime.serve import serve

_log = logging.getLogger(__name__)


async def run(settings: Settings) -> int:
    """Requests, commands, signals and results -> state, assignments, workflow results."""
    topics, metrics, limits = topics_of(settings), Metrics(), Limits.load(settings.limits)
    crews: dict[str, Crews | None] = dict.fromkeys(topics.projects)
    shapes: dict[str, Mapping[str, CrewShape]] = {}
    async with avro_of(settings, topics) as avro:
        app = coordinator_app(
            settings.kafka,
            options(settings, topics, "coordinator"),
            Coordinator(avro.codec, topics, lambda: Rules(crews, limits, shapes=shapes), metrics),
            sources=full_names(topics, topology.COORDINATOR.reads),
            tables=full_names(topics, topology.COORDINATOR.tables),
            timed=full_names(topics, [topology.STATE, topology.SCHEDULE_STATE]),
            prepare=avro.prepare,
            once=full_names(topics, [topology.FINISHED]),
        )
        catalogue = _catalogue(settings, topics, avro.codec, crews, shapes)
        async with probes(settings, "coordinator", app.health, metrics, app.behind):
            return await _serve(settings, topics, app, catalogue)


async def _serve(
    settings: Settings, topics: Topics, app: Application, catalogue: CompactedTopic
) -> int:
    await wait_for_topics(settings.kafka, [topics.full(topology.CATALOGUE)])
    async with catalogue:
        following = asyncio.create_task(catalogue.follow())
        try:
            return await serve(app)
        finally:
            following.cancel()


def _catalogue(
    settings: Settings,
    topics: Topics,
    avro: Codec,
    crews: dict[str, Crews | None],
    shapes: dict[str, Mapping[str, CrewShape]],
) -> CompactedTopic:
    def announced(key: bytes, value: bytes) -> None:
        try:
            project = avro.decode(value, ProjectDescribed)
        except Undecodable as error:
            _log.warning("announcement %r left out: %s", key[:200], error)
            return
        if project.project_id in crews:
            crews[project.project_id] = {
                crew.crew: frozenset(task.task_type for task in crew.tasks)
                for crew in project.crews
            }
            shapes[project.project_id] = {crew.crew: shape_of(crew) for crew in project.crews}

    name = topics.full(topology.CATALOGUE)
    return CompactedTopic(settings.kafka, name, topics.partitions(name), announced)
