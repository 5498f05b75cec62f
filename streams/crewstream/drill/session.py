"""One drill from its start to its report."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from crewstream import topology
from crewstream.adapters.clickhouse import connect
from crewstream.client import Client
from crewstream.contracts.events import WorkflowRequested
from crewstream.drill import calls, counting, load, plan, recovery, topic_log
from crewstream.drill.calls import Shadow
from crewstream.drill.counting import Rows
from crewstream.drill.plan import Kind
from crewstream.drill.report import Effects, Report
from crewstream.drill.scratch import SESSION_S, Scratch
from crewstream.drill.striking import Struck, strike_all
from crewstream.drill.topic_log import Log
from crewstream.errors import StartFailed, Unreachable
from crewstream_agents.drill import traces

# Asked for before any fault: the first crews of a process take seconds, which says nothing.
WARM = 4
# Without any new end for this long, what is still open counts as lost.
PATIENCE_S = 120.0
# What a thawed or returned process may still do wrong, it does within this time.
AFTERMATH_S = 2 * SESSION_S + 2.0
ROWS_WITHIN_S = 60.0
POLL_S = 0.5
# A process that was killed joins its group again, and work moves once more.
REJOINS_WITHIN_S = 2 * SESSION_S + 5.0
ROWS = """
SELECT (SELECT count() FROM v_events),
       (SELECT count() FROM v_transitions), (SELECT count() FROM dead_letters)
"""
TAKEN_IN = "SELECT DISTINCT toFloat64(_ingested_at) FROM events"


@dataclass(frozen=True, slots=True)
class Options:
    """What is drilled. `kinds` take turns; `latency_ms` is the model's, on average."""

    seed: int
    workflows: int
    kills: int
    kinds: Sequence[Kind]
    brokers: int
    latency_ms: int
    folder: Path
    cache_dir: Path


@dataclass(frozen=True, slots=True)
class Seen:
    """What there is to count when it is over."""

    struck: Sequence[Struck]
    letters: int
    log: Log
    shown: Rows
    taken_in_s: Sequence[float]


async def drill(options: Options, say: Callable[[str], None]) -> Report:
    """Start, load and strike together, wait for the ends, count. Raises StartFailed, Unreachable.

    `say` is told what happens, a line at a time. Everything that was started is gone afterwards.
    """
    began_s = time.monotonic()
    requests = load.workflows(options.seed, options.workflows)
    scratch = Scratch(
        options.folder,
        cache_dir=options.cache_dir,
        brokers=options.brokers,
        proxied=Kind.NETWORK in options.kinds,
        latency_ms=options.latency_ms,
    )
    async with scratch:
        say(f"everything runs after {time.monotonic() - began_s:.0f} s; seed {options.seed}")
        seen = await _carried_out(scratch, options, requests, say)
    left = traces.read(scratch.traces_file)
    shadows = [_shadow(fault) for fault in seen.struck]
    return Report(
        seed=options.seed,
        asked=len(requests),
        workflows=counting.workflows(seen.log, [request.workflow_id for request in requests]),
        calls=calls.count(calls.read(scratch.calls_file), _uses(left, seen.log), shadows),
        measured=counting.measurements(seen.log),
        effects=_effects(left),
        rows_in_topics=counting.rows(seen.log),
        rows_in_clickhouse=seen.shown,
        letters_expected=seen.letters,
        recovery=recovery.recoveries(seen.struck, seen.log, seen.taken_in_s, _partitions(scratch)),
        faults=seen.struck,
        took_s=time.monotonic() - began_s,
    )


async def _carried_out(
    scratch: Scratch,
    options: Options,
    requests: Sequence[WorkflowRequested],
    say: Callable[[str], None],
) -> Seen:
    """Load and faults together, then all that was written while they lasted."""
    planned = plan.faults(options.seed, options.kills, options.kinds)
    async with _client(scratch) as client:
        await load.submit(client, requests[:WARM], over_s=0.0)
        if not await _ended(client, min(WARM, len(requests))):
            raise StartFailed("no work gets done before any fault: the logs in its folder say why")
        say("it works; the faults begin")
        struck, letters, _ = await asyncio.gather(
            strike_all(scratch, planned, say),
            load.poison(scratch.connection, scratch.topics),
            load.submit(client, requests[WARM:], plan.lasts_s(options.kills)),
        )
        say("all faults are over; waiting for what is open")
        if not await _ended(client, len(requests)):
            say("not all have ended, and none did for a long time")
        await asyncio.sleep(AFTERMATH_S)
        log = await topic_log.read(client, scratch.topics)
        shown, taken_in_s = await _recorded(scratch.clickhouse_url, counting.rows(log))
    return Seen(struck, letters, log, shown, taken_in_s)


def _client(scratch: Scratch) -> Client:
    return Client(connection=scratch.connection, topics=scratch.topics_file, tenant=load.TENANT)


def _partitions(scratch: Scratch) -> int:
    return scratch.topics.partitions(scratch.topics.full(topology.STATE))


async def _ended(client: Client, wanted: int) -> bool:
    """True when so many workflows have a result; False when none has got one for 120 s."""
    ended: set[str] = set()
    following = [asyncio.create_task(_follow(client, each, ended)) for each in load.PROJECTS]
    try:
        seen, since_s = 0, time.monotonic()
        while len(ended) < wanted:
            await asyncio.sleep(POLL_S)
            if len(ended) > seen:
                seen, since_s = len(ended), time.monotonic()
            elif time.monotonic() - since_s > PATIENCE_S:
                return False
        return True
    finally:
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)


async def _follow(client: Client, project: str, ended: set[str]) -> None:
    while True:
        try:
            async with aclosing(client.results(project, start="beginning")) as results:
                async for finished in results:
                    ended.add(finished.workflow_id)
        except Unreachable:
            await asyncio.sleep(POLL_S)


async def _recorded(url: str, wanted: Rows) -> tuple[Rows, Sequence[float]]:
    """What ClickHouse shows, once it is what is wanted or after 60 s; when it took rows in."""
    deadline_s = time.monotonic() + ROWS_WITHIN_S
    while True:
        try:
            async with connect(url) as analytics:
                ((events, transitions, letters),) = (await analytics.query(ROWS)).rows
                taken_in_s = [row[0] for row in (await analytics.query(TAKEN_IN)).rows]
        except Unreachable:
            if time.monotonic() > deadline_s:
                raise
        else:
            shown = Rows(events, transitions, letters)
            if shown == wanted or time.monotonic() > deadline_s:
                return shown, taken_in_s
        await asyncio.sleep(POLL_S)


def _shadow(fault: Struck) -> Shadow:
    return Shadow(fault.at_s, fault.healed_s + REJOINS_WITHIN_S)


def _uses(left: Sequence[Mapping[str, str | float]], log: Log) -> Sequence[tuple[str, float]]:
    """When answers were seen to be used: in the argument of a tool, in the result of a task."""
    tools = [(str(one["about"]).rpartition("@")[2], float(one["at_s"])) for one in left]
    results = [
        (token, entry.at_s)
        for entry in log.results
        for token in calls.tokens_in(entry.event.output)
    ]
    return [*tools, *results]


def _effects(left: Sequence[Mapping[str, str | float]]) -> Effects:
    keys: dict[str, list[str]] = defaultdict(list)
    for one in left:
        if one["kind"] == traces.POSTED:
            keys[str(one["about"])].append(str(one["key"]))
    return Effects(
        posted=sum(map(len, keys.values())),
        repeated=sorted(about for about, times in keys.items() if len(times) > 1),
        keys_changed=sorted(about for about, found in keys.items() if len(Counter(found)) > 1),
    )
