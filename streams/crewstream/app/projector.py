"""The projector's process: state into Redis, answers to who asks, the schemas for who reads."""

from __future__ import annotations

from crewstream import topology
from crewstream.adapters import web
from crewstream.adapters.progress import LiveStatus, RedisProgress
from crewstream.adapters.prometheus import Metrics
from crewstream.adapters.redis import RedisStatus, connect
from crewstream.adapters.registry_face import face
from crewstream.app.common import full_names, probes, topics_of, until_told
from crewstream.config import Settings
from crewstream.contracts.codec import Codec
from crewstream.contracts.schemas import Schemas
from crewstream.processors.projector import project
from crewstream.runtime.plain import Batch, PlainLoop, PlainOptions


async def run(settings: Settings) -> int:
    """Workflow state -> the status that people read."""
    topics, schemas, metrics = topics_of(settings), Schemas.load(), Metrics()
    avro = Codec(schemas)
    redis = connect(settings.redis_url.get_secret_value())
    status = RedisStatus(redis, settings.prefix)

    async def fold(batch: Batch) -> None:
        for records in batch.values():
            await status.put(project(avro, records))

    loop = PlainLoop(
        settings.kafka,
        PlainOptions(
            group=f"{settings.prefix}-projector",
            topics=full_names(topics, topology.PROJECTOR.reads),
            session_timeout_s=settings.session_timeout_s,
            max_wait_s=0.01,
        ),
        fold,
        sink=status,
    )
    live = LiveStatus(status, RedisProgress(redis, settings.prefix))
    routes, below = web.status_routes(live), {"/registry": face(schemas, topics)}
    try:
        async with probes(
            settings, "projector", loop.health, metrics, loop.behind, routes=routes, below=below
        ):
            return await until_told(loop.run())
    finally:
        await redis.aclose()
