"""Which topics a backup takes for what, and what of them it saves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from crewstream import topology
from crewstream.app.backup import Cut, in_time, is_table, readers
from crewstream.contracts.topics import Topic, Topics
from crewstream.errors import Invalid
from crewstream.records import Inbound
from crewstream.runtime.partitions import Span

TOPICS = Topics.load()


def of(template: str) -> Topic:
    return next(topic for topic in TOPICS.all() if topic.template == template)


def test_the_coordinators_tables_and_the_catalogue_are_tables() -> None:
    found = {topic.template for topic in TOPICS.all() if is_table(topic)}
    assert found == {*topology.COORDINATOR.tables, topology.CATALOGUE}


@pytest.mark.parametrize(
    ("template", "groups"),
    [
        (topology.REQUESTS, ["x-coordinator"]),
        (topology.RESULTS, ["x-coordinator"]),
        (topology.TASKS, ["x-worker"]),
        (topology.METRICS, ["x-recorder"]),
        (topology.FINISHED, []),
        (topology.DEAD_LETTERS, []),
    ],
)
def test_a_log_is_saved_from_where_its_readers_are_and_whole_without_any(
    template: str, groups: Sequence[str]
) -> None:
    assert readers(of(template), "x") == groups


def test_a_deletion_that_is_younger_than_the_rows_is_left_out_and_nothing_else() -> None:
    def record(offset: int, value: bytes | None) -> Inbound:
        return Inbound("t", 0, offset, b"k", value, (), 0)

    once = Cut(Span(0, 10), deletions_to=5)
    assert [once.keeps(record(at, None)) for at in (4, 5, 6)] == [True, False, False]
    assert once.keeps(record(6, b"v"))
    assert Cut(Span(0, 10)).keeps(record(9, None))


def test_tables_that_may_have_been_compacted_meanwhile_make_no_backup() -> None:
    slow = replace(of(topology.STATE), config={"min.compaction.lag.ms": "60000"})
    in_time([slow], 59.0)
    with pytest.raises(Invalid, match="may have been compacted"):
        in_time([slow], 61.0)
