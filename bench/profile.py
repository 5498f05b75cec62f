"""Where the time of a one-task workflow goes: coordinator and worker in memory, by module."""

from __future__ import annotations

import cProfile
import pstats
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.figures import Figure

from crewstream import topology
from crewstream.contracts.codec import Codec
from crewstream.contracts.events import TaskRequest, WorkflowRequested
from crewstream.contracts.schemas import Schemas
from crewstream.contracts.topics import Topics, partition_for
from crewstream.domain.plan import Rules
from crewstream.processors.coordinator import Coordinator
from crewstream.processors.worker import Worker
from crewstream.records import Inbound, Outbound
from crewstream.testing import EchoRuns, FixedClock, MemoryMeter, MemoryOutcomes, MemoryRows

WORKFLOWS = 2000
LEAST_PERCENT = 1.0
PROJECT = "bizoholic"
PACKAGES = ("crewstream", "crewstream_agents")
ROLES = ("coordinator", "worker")
MOST_CALLERS = 8

Function = tuple[str, int, str]
"""File, line and name, as pstats has them."""


class Loop:
    """The product's loop without Kafka: what one processor sends is handed to the other.

    `cpu_s` is the CPU time of each, `profiles` are filled if they are to be.
    """

    def __init__(self, *, profiled: bool) -> None:
        self.cpu_s = dict.fromkeys(ROLES, 0.0)
        self.profiles = {role: cProfile.Profile() for role in ROLES} if profiled else {}
        self._topics, self._codec = Topics.load(replicas=1), Codec(Schemas.load())
        self._rows, self._clock = MemoryRows(), FixedClock()
        rules, meter = Rules(projects=dict.fromkeys(self._topics.projects)), MemoryMeter()
        self._coordinator = Coordinator(self._codec, self._topics, lambda: rules, meter)
        self._worker = Worker(
            self._codec, self._topics, runs=EchoRuns(), outcomes=MemoryOutcomes(),
            clock=self._clock, meter=meter, name="bench",
        )  # fmt: skip
        self._tasks = self._topics.full(topology.TASKS, PROJECT)
        self._results = self._topics.full(topology.RESULTS)
        self._tables = {self._topics.full(each) for each in topology.COORDINATOR.tables}
        self._under_way: deque[Inbound] = deque()

    async def run(self, workflows: int) -> None:
        """Take so many workflows from their requests to their results."""
        requests = self._topics.full(topology.REQUESTS, PROJECT)
        for number in range(workflows):
            name = f"profile-{number}"
            self._hand_over(Outbound(requests, name.encode(), self._request(name)))
        while self._under_way:
            record = self._under_way.popleft()
            for out in await self._handled(record):
                if out.topic in self._tables and out.key is not None:
                    self._rows.put(out.topic, out.key, out.value)
                elif out.topic in (self._tasks, self._results):
                    self._hand_over(out)

    async def _handled(self, record: Inbound) -> Sequence[Outbound]:
        role = "worker" if record.topic == self._tasks else "coordinator"
        profile, began_s = self.profiles.get(role), time.process_time()
        if profile is not None:
            profile.enable()
        if role == "worker":
            outputs = await self._worker.handle(record)
        else:
            outputs = self._coordinator.handle(record, self._rows)
        if profile is not None:
            profile.disable()
        self.cpu_s[role] += time.process_time() - began_s
        return outputs

    def _hand_over(self, out: Outbound) -> None:
        partition = partition_for(out.key or b"", self._topics.partitions(out.topic))
        at_ms = int(self._clock.at.timestamp() * 1000)
        self._under_way.append(
            Inbound(out.topic, partition, 0, out.key, out.value, out.headers, at_ms)
        )

    def _request(self, name: str) -> bytes:
        return self._codec.encode(
            WorkflowRequested(
                workflow_id=name,
                tenant_id="bench",
                project_id=PROJECT,
                tasks=(TaskRequest(task_id="t", crew="echo"),),
                requested_at=self._clock.at,
            )
        )


async def figures(workflows: int = WORKFLOWS) -> Sequence[Figure]:
    """The CPU time of each processor for a workflow, then the modules that it goes to."""
    plain, profiled = Loop(profiled=False), Loop(profiled=True)
    await plain.run(workflows)
    await profiled.run(workflows)
    found = []
    for role in ROLES:
        cpu_us = 1e6 * plain.cpu_s[role] / workflows
        found.append(Figure("profile", f"{role} in memory: CPU", cpu_us, "µs each"))
        percents = _percents(pstats.Stats(profiled.profiles[role]))
        found += [
            Figure("profile", f"{role}: {module}", percent, "%")
            for module, percent in percents.items()
            if percent >= LEAST_PERCENT
        ]
    return found


def _percents(stats: pstats.Stats) -> Mapping[str, float]:
    """The part of each of our modules in the profiled time, the largest first.

    What foreign functions take, down to `dict.get`, counts for those of ours that called them.
    """
    known: Mapping[Function, Any] = vars(stats)["stats"]  # documented, but unknown to typeshed
    spent: Counter[str] = Counter()
    for function, (_, _, own_s, _, _) in known.items():
        for module, part in _owners(function, known, MOST_CALLERS):
            spent[module] += own_s * part
    whole = spent.total()
    return {module: 100 * seconds / whole for module, seconds in spent.most_common()}


def _owners(
    function: Function, known: Mapping[Function, Any], depth: int
) -> Iterator[tuple[str, float]]:
    """Our modules that a function works for, each with its part in it."""
    module = _module(function[0])
    callers = known[function][4]
    whole = sum(own_s for _, _, own_s, _ in callers.values())
    if module or not callers or not depth or not whole:
        yield module or "the rest", 1.0
        return
    for caller, (_, _, own_s, _) in callers.items():
        for owner, part in _owners(caller, known, depth - 1):
            yield owner, part * own_s / whole


def _module(file: str) -> str:
    """`domain.plan` of …/crewstream/domain/plan.py; empty for what is not ours."""
    # What contracts/ compile from schemas names its module in place of a file.
    parts = file.strip("<>").removesuffix(".py").replace("\\", "/").replace("/", ".").split(".")
    for package in PACKAGES:
        if package in parts:
            inner = parts[len(parts) - parts[::-1].index(package) :]
            return ".".join(inner).removesuffix(".__init__")
    return ""
