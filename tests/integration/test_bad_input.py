"""Bad input on real Kafka, by real processes: it is told what is wrong, and its partition goes on.

What cannot be decoded is a dead letter, as it came; what is decoded but wrong is one rejected
result that names every fault. After each, the next good record on the same partition has its
effect.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import zlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer

from crewstream import topology
from crewstream.contracts import framing
from crewstream.contracts.events import TaskFinished, WorkflowStatus
from crewstream.contracts.topics import Topics
from support.installation import HEADERS, PARTITIONS, PATIENCE_S, Installation, Place, home, started
from support.requested import (
    CODEC,
    CREWS,
    MEGABYTE,
    NEW_CREW,
    PROJECT,
    SAMPLES,
    SPOILT,
    WRONG,
    request,
    task,
)

if TYPE_CHECKING:
    from support.servers import Brokers

pytestmark = [
    pytest.mark.integration,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(120),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(
    kafka: Brokers, valkey: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    folder = tmp_path_factory.mktemp("bad-input")
    async with started(kafka.bootstrap, valkey, folder) as running:
        yield running


# -- what cannot be decoded ------------------------------------------------------------------------


@pytest.mark.parametrize("fault", SPOILT)
@pytest.mark.parametrize("template", SAMPLES)
async def test_what_cannot_be_decoded_is_a_dead_letter_as_it_came(
    here: Installation, template: str, fault: str
) -> None:
    spoil, reason = SPOILT[fault]
    value = spoil(CODEC.encode(SAMPLES[template]), template)
    place = await here.produce(template, value, b"some key", partition=3)
    letter = await here.letter(place)
    assert (letter.key, letter.value) == (b"some key", value)
    assert list(letter.headers[: len(HEADERS)]) == HEADERS
    told = {name: text.decode() for name, text in letter.headers[len(HEADERS) :]}
    assert (told["x-dlq-topic"], told["x-dlq-partition"]) == (place.topic, "3")
    assert told["x-dlq-error-type"] == "Undecodable"
    assert reason in told["x-dlq-error"]
    assert told["x-dlq-schema-id"] == str(framing.schema_id(value) or "")
    assert int(told["x-dlq-timestamp"]) <= letter.timestamp_ms
    assert datetime.fromisoformat(told["x-dlq-failed-at"]).tzinfo is not None
    await here.goes_on(place.partition, template)


@pytest.mark.parametrize("key", [None, b"", b"\xff\xfe"])
async def test_a_dead_letter_keeps_a_key_that_is_none_or_no_text(
    here: Installation, key: bytes | None
) -> None:
    place = await here.produce(topology.REQUESTS, b"garbage", key, partition=5)
    assert (await here.letter(place)).key == key
    await here.goes_on(place.partition)


# -- decoded, but wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize("case", WRONG)
async def test_a_wrong_request_is_rejected_with_every_fault(here: Installation, case: str) -> None:
    changes, faults = WRONG[case]
    finished = await here.rejected(request(here.name_on(1), **changes))
    assert {fault.code: fault.path for fault in finished.faults} == faults
    assert len(finished.faults) == len(faults)
    assert all(fault.message for fault in finished.faults)


async def test_a_cycle_is_named_by_its_path(here: Installation) -> None:
    tasks = [task("a", depends_on=["b"]), task("b", depends_on=["c"]), task("c", depends_on=["b"])]
    finished = await here.rejected(request(here.name_on(6), tasks=tasks))
    [fault] = finished.faults
    assert fault.message.endswith((" b -> c -> b", " c -> b -> c"))


async def test_a_request_without_an_id_is_rejected_under_its_position(here: Installation) -> None:
    place = await here.produce(topology.REQUESTS, CODEC.encode(request("")), None, partition=2)
    finished = await here.ended("{}[{}]@{}".format(*place))
    assert [fault.code for fault in finished.faults] == ["workflow.invalid_id"]
    await here.goes_on(place.partition)


# -- right, but in the wrong place, or again -------------------------------------------------------


@pytest.mark.parametrize("key", [None, b"", b"another", b"\xff\xfe"])
async def test_a_missing_or_wrong_key_costs_a_hop_and_nothing_else(
    here: Installation, key: bytes | None
) -> None:
    name = here.name_on(4)
    place = await here.produce(topology.REQUESTS, CODEC.encode(request(name)), key, partition=7)
    assert (await here.ended(name)).status == WorkflowStatus.COMPLETED
    await here.goes_on(place.partition)
    await here.goes_on(4)
    assert here.results_of(name) == 1


async def test_the_partition_that_librdkafka_would_choose_is_as_good(here: Installation) -> None:
    names = (f"rd{number}" for number in itertools.count())
    name, partition = next(
        (name, crc)
        for name in names
        if (crc := zlib.crc32(name.encode()) % PARTITIONS) != home(name)
    )
    value = CODEC.encode(request(name))
    await here.produce(topology.REQUESTS, value, name.encode(), partition)
    assert (await here.ended(name)).status == WorkflowStatus.COMPLETED
    await here.goes_on(partition)
    await here.goes_on(home(name))
    assert here.results_of(name) == 1


async def test_the_same_request_twice_is_one_workflow(here: Installation) -> None:
    asked = request(here.name_on(2))
    place = await here.ask(asked)
    await here.ended(asked.workflow_id)
    again = await here.ask(asked.model_copy(update={"requested_at": datetime.now(UTC)}))
    await here.goes_on(place.partition)
    assert again.partition == place.partition
    assert here.results_of(asked.workflow_id) == 1
    assert here.letters_of(asked.workflow_id.encode()) == 0


async def test_another_request_under_the_same_id_is_a_dead_letter_and_the_first_one_stands(
    here: Installation,
) -> None:
    asked = request(here.name_on(2))
    other = asked.model_copy(update={"inputs": '{"other": true}'})
    await here.ask(asked)
    place = await here.ask(other)
    letter = await here.letter(place)
    assert letter.value == CODEC.encode(other)
    assert dict(letter.headers)["x-dlq-error-type"] == b"Conflict"
    assert (await here.ended(asked.workflow_id)).status == WorkflowStatus.COMPLETED
    await here.goes_on(place.partition)
    assert here.results_of(asked.workflow_id) == 1


# -- the other topics ------------------------------------------------------------------------------


async def test_a_command_for_no_workflow_is_a_dead_letter(here: Installation) -> None:
    value = CODEC.encode(SAMPLES[topology.COMMANDS])
    place = await here.produce(topology.COMMANDS, value, b"sample")
    letter = await here.letter(place)
    assert (letter.key, letter.value) == (b"sample", value)
    assert dict(letter.headers)["x-dlq-error-type"] == b"UnknownWorkflow"
    await here.goes_on(place.partition, topology.COMMANDS)


@pytest.mark.parametrize(
    "changes", [{"workflow_id": "ghost"}, {"task_id": "ghost"}, {"attempt": 7}, {"attempt": -1}]
)
async def test_a_result_that_nobody_waits_for_changes_nothing(
    here: Installation, changes: dict[str, object]
) -> None:
    asked = request(here.name_on(0), tasks=[task("a", inputs='{"sleep_s": 0.3}', description="!")])
    await here.ask(asked)
    result = SAMPLES[topology.RESULTS].model_copy(
        update={"workflow_id": asked.workflow_id, "output": "forged", **changes}
    )
    await here.produce(topology.RESULTS, CODEC.encode(result), asked.workflow_id.encode())
    finished = await here.ended(asked.workflow_id)
    assert [one.output for one in finished.tasks] == ["!"]
    await here.goes_on(0, topology.RESULTS)
    assert here.results_of(asked.workflow_id) == 1


@pytest.mark.parametrize("inputs", ["{", "[1]", ""])
async def test_an_assignment_whose_inputs_are_no_object_fails_and_says_why(
    here: Installation, inputs: str
) -> None:
    name = here.name_on(6, "/a")
    forged = {"workflow_id": name, "assignment_id": f"{name}/a/1", "inputs": inputs}
    value = CODEC.encode(SAMPLES[topology.TASKS].model_copy(update=forged))
    place = await here.produce(topology.TASKS, value, f"{name}/a".encode())
    await here.goes_on(place.partition, topology.TASKS)
    answer = await here.first(topology.RESULTS, name.encode())
    failure = CODEC.decode(answer.value, TaskFinished).failure
    assert failure and failure.error_type == "inputs.invalid"  # noqa: PT018  (one claim)


# -- what once stopped a coordinator for good ------------------------------------------------------


REQUESTS = Topics.load().full(topology.REQUESTS, PROJECT)
TOPIC_TAKES = int(Topics.load().topic(REQUESTS).config["max.message.bytes"])


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), 1e300])
async def test_a_time_that_is_none_is_a_fault(here: Installation, seconds: float) -> None:
    tasks = [task("a", timeout_s=seconds)]
    finished = await here.rejected(request(here.name_on(1), deadline_s=seconds, tasks=tasks))
    assert {fault.path for fault in finished.faults} == {"deadline_s", "tasks[0]"}


@pytest.mark.parametrize(
    ("field", "megabytes"), [("workflow_id", 3), ("tenant_id", 5), ("project_id", 5)]
)
async def test_a_name_of_megabytes_stops_nothing(
    here: Installation, field: str, megabytes: int
) -> None:
    asked = request(here.name_on(1)).model_copy(update={field: "x" * megabytes * MEGABYTE})
    place = await here.ask(asked)
    await here.goes_on(place.partition)


async def test_faults_that_name_all_tasks_still_fit_into_a_record(here: Installation) -> None:
    tasks = [task(f"{number:0128d}", depends_on=["ghost"]) for number in range(1000)]
    finished = await here.rejected(request(here.name_on(1), tasks=tasks))
    assert {fault.code for fault in finished.faults} == {
        "task.unknown_dependency",
        "workflow.more_faults",
    }


async def test_garbage_as_large_as_the_topic_takes_is_a_dead_letter(here: Installation) -> None:
    value = random.Random(0).randbytes(TOPIC_TAKES - 200)
    place = await here.produce(topology.REQUESTS, value, b"k", partition=3)
    assert (await here.letter(place)).value == value
    await here.goes_on(place.partition)


async def test_what_is_large_when_unpacked_is_a_dead_letter(here: Installation) -> None:
    packing = AIOKafkaProducer(
        compression_type="lz4", max_request_size=32 * MEGABYTE, **here.connection.arguments()
    )
    async with packing:
        topic, value = here.topic(topology.REQUESTS), b"x" * 20 * MEGABYTE
        sent = await packing.send_and_wait(topic, value, key=b"k", partition=3)
    await here.letter(Place(sent.topic, sent.partition, sent.offset))
    await here.goes_on(3)


async def test_a_producers_clock_in_the_past_makes_nothing_late(here: Installation) -> None:
    asked = request(here.name_on(1), deadline_s=60.0)
    name = asked.workflow_id.encode()
    await here.produce(topology.REQUESTS, CODEC.encode(asked), name, timestamp_ms=1000)
    assert (await here.ended(asked.workflow_id)).status == WorkflowStatus.COMPLETED
    await here.goes_on(1)


async def test_garbage_in_the_catalogue_hides_nothing_behind_it(here: Installation) -> None:
    await here.produce(topology.CATALOGUE, b"garbage", b"mars")
    more = CREWS.model_copy(update={"crews": (*CREWS.crews, NEW_CREW)})
    await here.produce(topology.CATALOGUE, CODEC.encode(more), PROJECT.encode())
    async with asyncio.timeout(PATIENCE_S):
        while True:
            asked = request(here.name_on(1), tasks=[task("a", crew=NEW_CREW.crew)])
            await here.ask(asked)
            if (await here.ended(asked.workflow_id)).status == WorkflowStatus.COMPLETED:
                break
