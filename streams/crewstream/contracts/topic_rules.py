"""What topics.yaml must obey so that the coordinator's tables and the log itself hold."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from crewstream.contracts import events

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from crewstream.contracts.topics import Topic, TopicTemplate

# Read or kept by the coordinator: a workflow's events must be in one partition of them all.
CO_PARTITIONED = (
    "{project}.workflow.requests",
    "workflow.commands",
    "schedules",
    "workflow.signals",
    "task.results",
    "workflow.state",
    "workflow.payloads",
    "workflow.watches",
    "workflow.admission",
    "workflow.schedules",
)
# Underscores are out: Kafka's metrics do not tell a_b from a.b.
_NAME = re.compile(r"^[a-z0-9-]+(\.[a-z0-9-]+)*$")
_LONGEST = 249  # Kafka's limit


def faults(templates: Sequence[TopicTemplate], topics: Sequence[Topic]) -> list[str]:
    """Everything that is wrong, in words; empty when all is well."""
    return [
        *_each(topics),
        *_records(templates),
        *_co_partitioning(templates, topics),
    ]


def _each(topics: Sequence[Topic]) -> Iterator[str]:
    names = [topic.name for topic in topics]
    yield from (f"{name}: there twice" for name in sorted({n for n in names if names.count(n) > 1}))
    for topic in topics:
        if not _NAME.match(topic.name) or len(topic.name) > _LONGEST:
            yield f"{topic.name}: a name is of a-z, 0-9, dash and dot, {_LONGEST} at most"
        if topic.config.get("cleanup.policy", "delete") not in {"delete", "compact"}:
            yield (
                f"{topic.name}: cleanup.policy is delete or compact, never both: a table's row must"
                " not expire while its workflow is open"
            )
        if int(topic.config.get("min.insync.replicas", "1")) > topic.replicas:
            yield (
                f"{topic.name}: min.insync.replicas is larger than replicas ({topic.replicas}),"
                " so nothing could be written"
            )


def _records(templates: Sequence[TopicTemplate]) -> Iterator[str]:
    for each in templates:
        if each.record and not hasattr(events, each.record):
            yield f"{each.name}: there is no record {each.record} in {events.__name__}"
        if bool(each.record) != bool(each.compatibility):
            yield f"{each.name}: record and compatibility go together"


def _co_partitioning(
    templates: Sequence[TopicTemplate],
    topics: Sequence[Topic],
) -> Iterator[str]:
    missing = set(CO_PARTITIONED) - {each.name for each in templates}
    yield from (f"{name}: missing; the coordinator needs it" for name in sorted(missing))
    for each in templates:
        # Rows that are no workflow's have keys with a slash in front, which no workflow_id has.
        if each.name in CO_PARTITIONED and not each.key.startswith(("workflow_id", "/")):
            yield f"{each.name}: the key is {each.key}, the coordinator needs workflow_id"
    counts = {topic.name: topic.partitions for topic in topics if topic.template in CO_PARTITIONED}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} has {count}" for name, count in sorted(counts.items()))
        yield f"topics that the coordinator reads and keeps need one partition count, but {told}"
