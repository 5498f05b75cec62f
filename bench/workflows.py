"""One-task workflows that do nothing, beside the raw echo of as many hops on the same broker."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

from bench import floor
from bench.figures import Figure, at_least, at_most, median, quantile
from bench.load import Caller, Route, caller
from bench.stage import PREFIX, Stage

from crewstream import topology
from crewstream.client import Client
from crewstream.contracts.codec import Codec
from crewstream.contracts.events import TaskRequest, WorkflowRequested, WorkflowStatus
from crewstream.contracts.schemas import Schemas
from crewstream.contracts.topics import Topics

PRODUCT = ("coordinator", "worker")
ECHOES = tuple(f"{floor.PREFIX}-{role}" for role in floor.ROLES)
BROKER = "kafka"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured: bursts, then so many seconds at each rate."""

    rounds: int = 3
    burst: int = 5000
    warm_up: int = 2000
    rates: Sequence[int] = (20, 500, 1000)
    seconds: float = 10.0


FULL = Plan()
QUICK = Plan(rounds=1, burst=1500, warm_up=500, rates=(20, 500), seconds=3.0)


@dataclass(frozen=True, slots=True)
class Burst:
    """One burst: how many a second, and the CPU milliseconds of each process for one of them."""

    per_s: float
    cpu_ms: Mapping[str, float]


async def figures(stage: Stage, plan: Plan, subjects: Collection[str]) -> Sequence[Figure]:
    """Measure the `subjects` (floor, workflows), turn by turn, so that both see the same machine.

    Raises RuntimeError when a workflow does not complete, or ends twice.
    """
    routes = {name: route for name, route in _routes().items() if name in subjects}
    processes = {"floor": stage.echoes(), "workflows": stage.product(*PRODUCT)}
    async with AsyncExitStack() as stack:
        for name in routes:
            await stack.enter_async_context(stage.running(processes[name]))
        bootstrap = stage.installation.kafka.bootstrap
        callers = {
            name: await stack.enter_async_context(caller(bootstrap, route))
            for name, route in routes.items()
        }
        bursts, waits = await _measure(stage, plan, callers)
        if "workflows" in callers:
            await _all_completed(bootstrap, callers["workflows"].asked)
    return [*_burst_figures(bursts), *_wait_figures(waits)]


async def _measure(
    stage: Stage, plan: Plan, callers: Mapping[str, Caller]
) -> tuple[Mapping[str, Sequence[Burst]], Mapping[tuple[str, int], Sequence[float]]]:
    for each in callers.values():
        await each.burst(plan.warm_up)
    bursts: dict[str, list[Burst]] = defaultdict(list)
    for _ in range(plan.rounds):
        for name, each in callers.items():
            bursts[name].append(await _burst(stage, name, each, plan.burst))
    waits = {}
    for rate in plan.rates:
        for name, each in callers.items():
            await asyncio.sleep(1.0)  # what the one before left behind (commits, rows) is done
            waits[name, rate] = await each.steady(rate, plan.seconds)
    return bursts, waits


async def _burst(stage: Stage, name: str, each: Caller, count: int) -> Burst:
    names = (*(ECHOES if name == "floor" else PRODUCT), BROKER)
    before = stage.cpu_s(names)
    seconds = await each.burst(count)
    after = stage.cpu_s(names)
    return Burst(count / seconds, {n: 1000 * (after[n] - before[n]) / count for n in names})


async def _all_completed(bootstrap: str, asked: int) -> None:
    """Nothing fast is worth anything unless each workflow completed, once."""
    ended: list[str] = []
    async with Client(bootstrap, prefix=PREFIX) as client:
        async for finished in client.results(floor.PROJECT, start="beginning", follow=False):
            if finished.status != WorkflowStatus.COMPLETED:
                raise RuntimeError(f"{finished.workflow_id} is {finished.status}")
            ended.append(finished.workflow_id)
    if len(ended) != asked or len(set(ended)) != asked:
        raise RuntimeError(f"{asked} workflows, {len(ended)} results of {len(set(ended))}")


def _routes() -> Mapping[str, Route]:
    topics, codec = Topics.load(prefix=PREFIX, replicas=1), Codec(Schemas.load())

    def request(name: str) -> bytes:
        return codec.encode(
            WorkflowRequested(
                workflow_id=name,
                tenant_id="bench",
                project_id=floor.PROJECT,
                tasks=(TaskRequest(task_id="t", crew="echo"),),
                requested_at=datetime.now(UTC),
            )
        )

    return {
        "floor": floor.route(len(request("floor-1000"))),
        "workflows": Route(
            PREFIX,
            topics.full(topology.REQUESTS, floor.PROJECT),
            topics.full(topology.FINISHED, floor.PROJECT),
            request,
        ),
    }


def _burst_figures(bursts: Mapping[str, Sequence[Burst]]) -> Iterator[Figure]:
    for name, rounds in bursts.items():
        ours = name == "workflows"
        rate = median(each.per_s for each in rounds)
        yield Figure(name, "burst", rate, "/s", at_least(3000) if ours else None)
        cpu = {p: median(each.cpu_ms[p] for each in rounds) for p in rounds[0].cpu_ms}
        both = sum(ms for process, ms in cpu.items() if process != BROKER)
        goal = at_most(0.4) if ours else None
        yield Figure(name, "CPU of both processes", both, "ms each", goal)
        for process, ms in cpu.items():
            yield Figure(name, f"CPU of {process}", ms, "ms each")


def _wait_figures(waits: Mapping[tuple[str, int], Sequence[float]]) -> Iterator[Figure]:
    for (name, rate), times_ms in waits.items():
        for label, share in (("p50", 0.5), ("p95", 0.95)):
            goal = None
            floor_ms = waits.get(("floor", rate))
            if name == "workflows" and rate == 20 and floor_ms:  # noqa: PLR2004 - design §11
                goal = at_most(1.5 * quantile(floor_ms, share))
            if name == "workflows" and rate == 1000 and label == "p95":  # noqa: PLR2004 - the same
                goal = at_most(100.0)
            value = quantile(times_ms, share)
            yield Figure(name, f"request → result, {label} at {rate}/s", value, "ms", goal)
