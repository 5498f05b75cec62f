"""Asks the record for advice now and then: rows, events and gauges of what it finds."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Protocol

from crewstream.adapters.clickhouse import Analytics, connect
from crewstream.analytics import library, rules
from crewstream.analytics.advice import COLUMNS, Advice, Change, changes
from crewstream.analytics.rules import Found
from crewstream.config import Settings
from crewstream.contracts import envelope
from crewstream.contracts.codec import Codec
from crewstream.contracts.events import AdviceKind, AdviceStatus, Advised, Severity
from crewstream.errors import CrewstreamError
from crewstream.meters import Meter
from crewstream.records import Outbound

SOURCE = "/crewstream/recorder"
FIRST_S = 20.0
WINDOWS = ("5m", "30m", "1h", "6h", "3d")
_log = logging.getLogger(__name__)


class Out(Protocol):
    """Where records are sent."""

    async def send(self, records: Iterable[Outbound]) -> None: ...


class Adviser:
    """Runs the rules once and tells what changed: first on the topic, then in the table.

    What was told and not yet recorded is told again, under the same id.
    """

    def __init__(self, store: Analytics, out: Out, codec: Codec, topic: str, meter: Meter) -> None:
        self._store, self._out, self._codec = store, out, codec
        self._topic, self._meter = topic, meter
        self._shown: set[tuple[str, str]] = set()
        self._objectives: set[str] = set()

    async def advise(self, now: datetime) -> Sequence[Change]:
        """What changed. Raises Transient when ClickHouse or Kafka is away."""
        found = await rules.findings(self._store)
        known = await rules.open_advice(self._store)
        changed = changes(known, found.findings, found.ran, now)
        await self._out.send(event(each.advice, self._codec, self._topic) for each in told(changed))
        if changed:
            rows = [each.advice.row for each in changed]
            await self._store.insert_rows("recommendations", COLUMNS, rows)
        self._show(found)
        await self._show_objectives()
        self._meter.gauge("crewstream_advised_timestamp_seconds", now.timestamp())
        return changed

    def _show(self, found: Found) -> None:
        """How much is open; 0 for what was and is no longer."""
        counts = Counter((each.rule, each.severity) for each in found.findings)
        for rule, severity in self._shown | counts.keys():
            number = counts[rule, severity]
            self._meter.gauge("crewstream_recommendations", number, rule=rule, severity=severity)
        self._shown |= counts.keys()

    async def _show_objectives(self) -> None:
        answer = await library.run("slo", {}, self._store)
        rows = [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]
        # One that is no objective any more burns nothing.
        gone = self._objectives - {row["name"] for row in rows}
        rows += [{"name": name, "budget_left": 1.0} for name in gone]
        self._objectives = {row["name"] for row in rows} - gone
        for row in rows:
            if row["budget_left"] is not None:
                self._meter.gauge(
                    "crewstream_slo_budget_ratio", row["budget_left"], slo=row["name"]
                )
            for window in WINDOWS:
                burn = row.get(f"burn_{window}", 0.0)
                self._meter.gauge("crewstream_slo_burn_rate", burn, slo=row["name"], window=window)


def told(changed: Iterable[Change]) -> Iterable[Change]:
    """The changes that others should hear of."""
    return (each for each in changed if each.told)


def event(advice: Advice, codec: Codec, topic: str) -> Outbound:
    """The record that tells of it."""
    found, name = advice.finding, str(advice.finding.advice_id)
    told_of = Advised(
        advice_id=name,
        occurred_at=advice.updated_at,
        rule=found.rule,
        kind=AdviceKind(found.kind),
        severity=Severity(found.severity),
        status=AdviceStatus(advice.status),
        tenant_id=found.tenant_id,
        project_id=found.project_id,
        subject=found.subject,
        about=found.about,
        action=found.action,
        evidence=dict(found.evidence),
        query=found.query,
        opened_at=advice.opened_at,
    )
    headers = envelope.headers_for(
        "Advised",
        id=f"{name}/{advice.opened_at.isoformat()}/{advice.status}/{found.severity}",
        source=SOURCE,
        subject=name,
        time=advice.updated_at,
        tenant_id=found.tenant_id,
        correlation_id=name,
    )
    return Outbound(topic, name.encode(), codec.encode(told_of), headers)


@asynccontextmanager
async def advising(
    settings: Settings, out: Out, codec: Codec, topic: str, meter: Meter
) -> AsyncIterator[None]:
    """Advise in the background, over a connection of its own so that rows need not wait for it."""
    if not settings.advice_interval_s:
        yield
        return
    async with connect(settings.clickhouse_dsn.get_secret_value()) as store:
        adviser = Adviser(store, out, codec, topic, meter)
        task = asyncio.create_task(_now_and_then(adviser, settings.advice_interval_s))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def _now_and_then(adviser: Adviser, interval_s: float) -> None:
    await asyncio.sleep(min(FIRST_S, interval_s))
    while True:
        try:
            await adviser.advise(datetime.now(UTC))
        except CrewstreamError as error:
            _log.warning("no advice this time: %s", error)
        except Exception:  # noqa: BLE001 - rows go on being recorded, whatever it is
            _log.exception("no advice this time")
        await asyncio.sleep(interval_s)
