"""How long a fault was felt: from the fault to the next result that depends on what it struck."""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from crewstream.contracts.events import TaskFinished
from crewstream.contracts.topics import partition_for
from crewstream.drill.plan import Kind
from crewstream.drill.striking import Struck
from crewstream.drill.topic_log import Entry, Log

FELT_WITHIN_S = 60.0
"""What comes later than this after a fault is not its doing."""

MEANING: Mapping[Kind, str] = {
    Kind.WORKER: "to the first result, by another process, out of a partition that it served",
    Kind.RUNNER: "to the next result out of a partition that its worker served",
    Kind.STOP: "to the first result, by another process, out of a partition that it served",
    Kind.COORDINATOR: "to the next transition of the partition that waited longest for one",
    Kind.BROKER: "to the end of the longest silence of workflow.state that began before it was up",
    Kind.REDIS: "to the end of the longest silence of task.results that began before it was up",
    Kind.RECORDER: "to the next row that ClickHouse took in",
    Kind.FREEZE: "as of a killed worker or coordinator",
    Kind.NETWORK: "as of Kafka or Redis, whichever was cut off",
}


@dataclass(frozen=True, slots=True)
class Recovery:
    """Of one kind of fault: how many were felt, and seconds until they were not any more.

    A fault is not felt when nothing waited for what it struck.
    """

    faults: int
    felt: int
    p50_s: float
    max_s: float


def recoveries(
    struck: Sequence[Struck], log: Log, taken_in_s: Sequence[float], partitions: int
) -> Mapping[Kind, Recovery]:
    """By kind. `taken_in_s`: when ClickHouse took rows in; `partitions`: of every topic."""
    found: dict[Kind, list[float | None]] = defaultdict(list)
    for fault in struck:
        found[fault.kind].append(_felt_s(fault, log, taken_in_s, partitions))
    return {kind: _summary(times_s) for kind, times_s in sorted(found.items())}


def _summary(times_s: Sequence[float | None]) -> Recovery:
    felt_s = [time_s for time_s in times_s if time_s is not None] or [0.0]
    count = sum(time_s is not None for time_s in times_s)
    return Recovery(len(times_s), count, round(median(felt_s), 2), round(max(felt_s), 2))


def _felt_s(fault: Struck, log: Log, taken_in_s: Sequence[float], partitions: int) -> float | None:
    """Seconds, or None when it was not felt."""
    if fault.target.startswith("worker"):
        return _since(fault, _results_from_there(fault, log, partitions))
    if fault.target.startswith("coordinator"):
        return _longest_wait_s(fault, log)
    if fault.target == "recorder":
        return _since(fault, taken_in_s)
    stream = log.results if fault.target == "valkey" else log.states
    return silence_s(fault.at_s, fault.healed_s, [entry.at_s for entry in stream])


def _since(fault: Struck, times_s: Iterable[float]) -> float | None:
    """From the fault to the first of these times after it."""
    after = [time_s - fault.at_s for time_s in times_s if time_s > fault.at_s]
    return min((time_s for time_s in after if time_s < FELT_WITHIN_S), default=None)


def _by(fault: Struck, entry: Entry[TaskFinished]) -> bool:
    """Whether a result is of the process that was struck: results say host/pid."""
    return entry.event.worker.endswith(f"/{fault.pid}")


def _results_from_there(fault: Struck, log: Log, partitions: int) -> Sequence[float]:
    """When results came out of the partitions that the struck worker had served.

    By others, unless it was only a runner of it that was killed.
    """

    def place(entry: Entry[TaskFinished]) -> tuple[str, int]:
        key = f"{entry.event.workflow_id}/{entry.event.task_id}".encode()
        return entry.event.project_id, partition_for(key, partitions)

    before = [entry for entry in log.results if entry.at_s < fault.at_s]
    served = {place(entry) for entry in before if _by(fault, entry)}
    return [
        entry.at_s
        for entry in log.results
        if place(entry) in served and (fault.kind is Kind.RUNNER or not _by(fault, entry))
    ]


def _longest_wait_s(fault: Struck, log: Log) -> float | None:
    """Of all partitions: what came first after the fault, and the transition that followed it."""
    came, moved = defaultdict[int, list[float]](list), defaultdict[int, list[float]](list)
    for asked in log.requests:
        came[asked.record.partition].append(asked.at_s)
    for result in log.results:
        came[result.record.partition].append(result.at_s)
    for state in log.states:
        moved[state.record.partition].append(state.at_s)
    waits = [
        (moved_s - came_s, moved_s - fault.at_s)
        for partition in came
        if (came_s := _after(fault.at_s, came[partition])) is not None
        and came_s < fault.at_s + FELT_WITHIN_S
        and (moved_s := _after(came_s, moved[partition])) is not None
    ]
    return max(waits)[1] if waits else None


def _after(at_s: float, times_s: Iterable[float]) -> float | None:
    return min((s for s in times_s if s >= at_s), default=None)


def silence_s(at_s: float, healed_s: float, marks_s: Sequence[float]) -> float | None:
    """From a fault to the end of the longest silence that began after it and before it healed."""
    marks = sorted(marks_s)
    later = [at_s, *marks[bisect_left(marks, at_s) :]]
    gaps = [
        (end_s - start_s, end_s - at_s)
        for start_s, end_s in itertools.pairwise(later)
        if start_s <= healed_s
    ]
    return max(gaps)[1] if gaps else None
