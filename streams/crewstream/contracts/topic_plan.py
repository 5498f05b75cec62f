"""What it takes to make Kafka's topics those of topics.yaml: pure planning, and Strimzi's form.

Nothing is ever deleted or made smaller: what only that could mend is told as drift.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crewstream.contracts.topic_rules import CO_PARTITIONED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from crewstream.contracts.topics import Topic, Topics


@dataclass(frozen=True, slots=True)
class Actual:
    """A topic as Kafka has it; `config` are the settings made on the topic itself."""

    name: str
    partitions: int
    replicas: int
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Growth:
    """A topic that gets more partitions."""

    name: str
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Alteration:
    """A topic whose settings change; `config` is all of them, because Kafka replaces all."""

    name: str
    changes: Mapping[str, tuple[str | None, str]]
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, and the drift that is left to people."""

    create: Sequence[Topic] = ()
    grow: Sequence[Growth] = ()
    alter: Sequence[Alteration] = ()
    drift: Sequence[str] = ()

    @property
    def in_sync(self) -> bool:
        """Whether Kafka is as topics.yaml says."""
        return not (self.create or self.grow or self.alter or self.drift)

    @property
    def text(self) -> str:
        """One line for each thing to do (+ new, ~ changed) and each drift (!)."""
        return "\n".join(_lines(self)) or "in sync"


def plan(topics: Topics, actual: Sequence[Actual]) -> Plan:
    """Compare. Topics of the same prefix that topics.yaml does not know are drift.

    Settings made on a topic that topics.yaml does not name are somebody's decision: kept.
    """
    have = {topic.name: topic for topic in actual}
    wanted = topics.all()
    pairs = [(want, have[want.name]) for want in wanted if want.name in have]
    return Plan(
        create=tuple(want for want in wanted if want.name not in have),
        grow=tuple(
            Growth(want.name, is_.partitions, want.partitions)
            for want, is_ in pairs
            if want.partitions > is_.partitions and want.template not in CO_PARTITIONED
        ),
        alter=tuple(_alteration(want, is_) for want, is_ in pairs if _changes(want, is_)),
        drift=(
            *(told for want, is_ in pairs for told in _drift(want, is_)),
            *_strangers(topics, have),
        ),
    )


def strimzi(topics: Topics, cluster: str) -> list[dict[str, Any]]:
    """One KafkaTopic resource per topic, for Strimzi's Topic Operator of this Kafka cluster."""
    return [
        {
            "apiVersion": "kafka.strimzi.io/v1",
            "kind": "KafkaTopic",
            "metadata": {"name": topic.name, "labels": {"strimzi.io/cluster": cluster}},
            "spec": {
                "partitions": topic.partitions,
                "replicas": topic.replicas,
                "config": dict(topic.config),
            },
        }
        for topic in topics.all()
    ]


def _changes(want: Topic, is_: Actual) -> dict[str, tuple[str | None, str]]:
    return {
        key: (is_.config.get(key), value)
        for key, value in want.config.items()
        if is_.config.get(key) != value
    }


def _alteration(want: Topic, is_: Actual) -> Alteration:
    return Alteration(want.name, _changes(want, is_), {**is_.config, **want.config})


def _drift(want: Topic, is_: Actual) -> Iterator[str]:
    if want.partitions < is_.partitions:
        yield f"{want.name} has {is_.partitions} partitions, not {want.partitions}: never lowered"
    if want.partitions > is_.partitions and want.template in CO_PARTITIONED:
        yield (
            f"{want.name} has {is_.partitions} partitions, not {want.partitions}: more would part"
            " open workflows from their rows; drain, and start anew under another prefix"
        )
    if want.replicas != is_.replicas:
        yield f"{want.name} has {is_.replicas} replicas, not {want.replicas}: reassign by hand"


def _strangers(topics: Topics, have: Mapping[str, Actual]) -> Iterator[str]:
    known = {topic.name for topic in topics.all()}
    for name in sorted(have.keys() - known):
        if name.startswith(f"{topics.prefix}."):
            yield f"{name} is not in topics.yaml: delete it by hand if nobody needs it"


def _lines(plan: Plan) -> Iterator[str]:
    for topic in plan.create:
        yield f"+ {topic.name}: {topic.partitions} partitions, {topic.replicas} replicas"
    for growth in plan.grow:
        yield f"~ {growth.name}: partitions {growth.before} -> {growth.after}"
    for alteration in plan.alter:
        for key, (before, after) in alteration.changes.items():
            yield f"~ {alteration.name}: {key} {before or '(default)'} -> {after}"
    for told in plan.drift:
        yield f"! {told}"
