"""How agents stand: worked out from ClickHouse every so often, published for who chooses them."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime

from crewstream.adapters.clickhouse import Analytics, Refused, connect
from crewstream.adapters.redis import connect as connect_redis
from crewstream.adapters.standings import Standings
from crewstream.analytics import library
from crewstream.config import Settings
from crewstream.domain.standings import scored
from crewstream.errors import Transient

QUERY = "standings"
REST = 20.0
"""Where working them out takes long, so many times as long is rested: 5 % of a core at most."""
_log = logging.getLogger(__name__)


async def publish(analytics: Analytics, standings: Standings) -> int:
    """Work out and publish all standings; how many. Raises Unreachable, Refused."""
    answer = await library.run(QUERY, {}, analytics)
    rows = [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]
    found = scored(rows)
    await standings.publish(found, datetime.now(UTC))
    return len(found)


async def publish_always(settings: Settings) -> None:
    """Publish every `standings_every_s`. Whatever goes wrong is told, and tried again then."""
    redis = connect_redis(settings.redis_url.get_secret_value())
    standings = Standings(redis, settings.prefix)
    try:
        # A connection of its own: a long question must not hold up the recorder's inserts.
        async with connect(settings.clickhouse_dsn.get_secret_value()) as analytics:
            while True:
                began_s = time.monotonic()
                try:
                    count = await publish(analytics, standings)
                    _log.debug("%d standings of agents published", count)
                except (Transient, Refused) as error:
                    _log.warning("standings of agents are not published: %s", error)
                took_s = time.monotonic() - began_s
                await asyncio.sleep(max(settings.standings_every_s, REST * took_s))
    finally:
        await redis.aclose()
