"""topics.yaml: its rules hold, and each of them bites."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import aiokafka.partitioner
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from crewstream.contracts.partitioning import partition_for
from crewstream.contracts.shipped import shipped
from crewstream.contracts.topic_plan import Actual, Plan, plan, strimzi
from crewstream.contracts.topic_rules import CO_PARTITIONED
from crewstream.contracts.topics import Topic, Topics
from crewstream.errors import InvalidTopics

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from crewstream.contracts.schemas import Schemas

File = dict[str, Any]


def test_each_topic_carries_a_record_that_there_is(schemas: Schemas, topics: Topics) -> None:
    for topic in topics.all():
        if topic.record is not None:
            assert topic.record in schemas.current, topic.name


def test_what_the_coordinator_reads_and_keeps_is_partitioned_alike(topics: Topics) -> None:
    counts = {topic.partitions for topic in topics.all() if topic.template in CO_PARTITIONED}
    assert len(counts) == 1


def test_names_have_prefix_and_project(topics: Topics) -> None:
    assert topics.projects == ("bizoholic", "coreldove")
    assert topics.full("{project}.tasks", "bizoholic") == "crewstream.bizoholic.tasks"
    assert Topics.load(prefix="blue").full("metrics") == "blue.metrics"
    assert topics.record_of("crewstream.coreldove.workflow.requests") == "WorkflowRequested"
    assert topics.record_of("crewstream.dead-letters") is None
    assert topics.partitions("crewstream.catalogue") == 1


def test_added_projects_have_topics_as_well(tmp_path: Path) -> None:
    added = tmp_path / "projects.yaml"
    assert Topics.load(added=added).projects == Topics.load().projects

    added.write_text("version: 1\nprojects: {tea: {title: Tea}, bizoholic: {}}\n")
    topics = Topics.load(added=added)
    assert topics.projects == ("bizoholic", "coreldove", "tea")
    assert topics.full("{project}.tasks", "tea") == "crewstream.tea.tasks"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: [", "no YAML"),
        ("- tea", "has to map"),
        ("projects: [tea]", "has to map"),
        ("projects: {Tea_Room: {}}", "'Tea_Room' is no id"),
    ],
)
def test_a_broken_list_of_added_projects_is_named(text: str, fault: str, tmp_path: Path) -> None:
    added = tmp_path / "projects.yaml"
    added.write_text(text)
    with pytest.raises(InvalidTopics, match=fault):
        Topics.load(added=added)


@pytest.mark.parametrize(
    ("template", "project"),
    [("{project}.tasks", "nobody"), ("{project}.tasks", None), ("nothing", None)],
)
def test_a_topic_that_there_is_not_is_refused(
    topics: Topics, template: str, project: str | None
) -> None:
    with pytest.raises(InvalidTopics, match=r"topics\.yaml makes no topic crewstream"):
        topics.full(template, project)


def test_one_replica_needs_one_in_sync() -> None:
    for topic in Topics.load(replicas=1).all():
        assert (topic.replicas, topic.config["min.insync.replicas"]) == (1, "1")
    assert Topics.load().on_one_broker().all() == Topics.load(replicas=1).all()
    for topic in Topics.load(replicas=5).all():
        assert (topic.replicas, topic.config["min.insync.replicas"]) == (5, "2")


def test_the_strictest_topic_decides_how_compatible_a_record_must_be() -> None:
    def twice(file: File) -> None:
        archive = {"name": "archive", "key": "workflow_id", "record": "WorkflowRequested"}
        file["topics"].append(archive | {"compatibility": "FULL_TRANSITIVE", "about": "a"})

    assert Topics.load().modes()["WorkflowRequested"] == "BACKWARD_TRANSITIVE"
    assert Topics.parse(changed(twice)).modes()["WorkflowRequested"] == "FULL_TRANSITIVE"


def changed(change: Callable[[File], None]) -> str:
    file: File = yaml.safe_load((shipped() / "topics.yaml").read_text())
    change(file)
    return yaml.safe_dump(file)


def topic(file: File, name: str) -> File:
    found: File = next(each for each in file["topics"] if each["name"] == name)
    return found


def set_in(which: str, **fields: Any) -> Callable[[File], None]:
    return lambda file: topic(file, which).update(fields)


def without_state(file: File) -> None:
    file["topics"].remove(topic(file, "workflow.state"))


def a_topic_twice(file: File) -> None:
    file["topics"].append(topic(file, "metrics"))


BAD: list[tuple[Callable[[File], None], str]] = [
    (lambda file: file.update(topcis=[]), "topcis: Extra inputs are not permitted"),
    (set_in("metrics", retention="7d"), r"retention: Extra inputs are not permitted"),
    (lambda file: file.update(version=2), "version: "),
    (lambda file: file.update(projects=["Bizoholic"]), r"projects\.0: "),
    (set_in("metrics", partitions=0), "partitions: "),
    (set_in("metrics", record="Measurement"), "metrics: there is no record Measurement"),
    (set_in("metrics", compatibility=None), "metrics: record and compatibility go together"),
    (set_in("metrics", compatibility="NONE"), "compatibility: "),
    (set_in("metrics", config={"min.insync.replicas": "4"}), "min.insync.replicas is larger"),
    (set_in("metrics", config={"min.insync.replicas": "two"}), "min.insync.replicas is a number"),
    (set_in("metrics", name="Metrics"), "a name is of a-z, 0-9, dash and dot"),
    (set_in("metrics", name="my_metrics"), "my_metrics: a name is of a-z"),
    (set_in("metrics", name="m" * 250), "249 at most"),
    (a_topic_twice, r"crewstream\.metrics: there twice"),
    (set_in("task.results", partitions=4), "need one partition count"),
    (set_in("task.results", key="task_id"), "the coordinator needs workflow_id"),
    (without_state, "workflow.state: missing"),
    (
        set_in("workflow.state", config={"cleanup.policy": "compact,delete"}),
        "cleanup.policy is delete or compact, never both",
    ),
]


@pytest.mark.parametrize(("change", "told"), BAD)
def test_a_bad_file_is_refused_with_the_fault(change: Callable[[File], None], told: str) -> None:
    with pytest.raises(InvalidTopics, match=told):
        Topics.parse(changed(change))


def test_what_is_no_yaml_is_refused() -> None:
    with pytest.raises(InvalidTopics, match="no YAML"):
        Topics.parse("topics: [")


@given(key=st.binary(max_size=64), partitions=st.integers(1, 200))
def test_a_key_goes_where_aiokafka_sends_it(key: bytes, partitions: int) -> None:
    aiokafkas = (aiokafka.partitioner.murmur2(key) & 0x7FFFFFFF) % partitions
    assert partition_for(key, partitions) == aiokafkas


def as_it_should(topic: Topic) -> Actual:
    return Actual(topic.name, topic.partitions, topic.replicas, topic.config)


def test_a_cluster_as_it_should_be_is_in_sync(topics: Topics) -> None:
    planned = plan(topics, [as_it_should(topic) for topic in topics.all()])
    assert planned == Plan()
    assert (planned.in_sync, planned.text) == (True, "in sync")


def test_an_empty_cluster_gets_all(topics: Topics) -> None:
    planned = plan(topics, [])
    assert planned.create == topics.all()
    assert not planned.in_sync
    assert "+ crewstream.catalogue: 1 partitions, 3 replicas" in planned.text.splitlines()


def only(topics: Topics, actual: Actual) -> Plan:
    others = [as_it_should(topic) for topic in topics.all() if topic.name != actual.name]
    return plan(topics, [*others, actual])


def test_a_setting_is_put_right_together_with_all_the_others(topics: Topics) -> None:
    metrics = as_it_should(topics.topic("crewstream.metrics"))
    own = {**metrics.config, "retention.ms": "5", "segment.ms": "7"}

    planned = only(topics, replace(metrics, config=own))

    assert planned.text == "~ crewstream.metrics: retention.ms 5 -> 604800000"
    assert planned.alter[0].config == {**metrics.config, "segment.ms": "7"}


def test_partitions_are_added(topics: Topics) -> None:
    metrics = as_it_should(topics.topic("crewstream.metrics"))
    assert only(topics, replace(metrics, partitions=3)).text == (
        "~ crewstream.metrics: partitions 3 -> 8"
    )


@pytest.mark.parametrize(
    ("name", "actual", "told"),
    [
        ("crewstream.metrics", {"partitions": 16}, "has 16 partitions, not 8: never lowered"),
        ("crewstream.workflow.state", {"partitions": 4}, "would part open workflows"),
        ("crewstream.metrics", {"replicas": 2}, "has 2 replicas, not 3: reassign by hand"),
    ],
)
def test_what_only_people_may_mend_is_drift(
    topics: Topics, name: str, actual: dict[str, Any], told: str
) -> None:
    planned = only(topics, replace(as_it_should(topics.topic(name)), **actual))
    (line,) = planned.drift
    assert told in line
    assert planned.text == f"! {line}"
    assert planned == Plan(drift=planned.drift)
    assert not planned.in_sync


def test_only_strangers_of_the_same_installation_are_drift(topics: Topics) -> None:
    others = [
        Actual(name, 1, 1, {}) for name in ("crewstream.old", "crewstream2.tasks", "_offsets")
    ]
    planned = plan(topics, [*map(as_it_should, topics.all()), *others])
    (told,) = planned.drift
    assert told.startswith("crewstream.old is not in topics.yaml")


def test_strimzi_gets_one_resource_for_each_topic(topics: Topics) -> None:
    resources = strimzi(topics, cluster="main")
    assert [each["metadata"]["name"] for each in resources] == [t.name for t in topics.all()]
    (tasks,) = [each for each in resources if each["metadata"]["name"].endswith("bizoholic.tasks")]
    assert tasks == {
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "KafkaTopic",
        "metadata": {
            "name": "crewstream.bizoholic.tasks",
            "labels": {"strimzi.io/cluster": "main"},
        },
        "spec": {
            "partitions": 8,
            "replicas": 3,
            "config": {
                "cleanup.policy": "delete",
                "retention.ms": "604800000",
                "min.insync.replicas": "2",
                "max.message.bytes": "8388608",
                "message.timestamp.type": "LogAppendTime",
            },
        },
    }
