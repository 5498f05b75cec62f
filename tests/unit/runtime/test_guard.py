# ruff: noqa: SLF001  (private names are what this file is about)
"""Every private name and unwritten habit of faust, mode and aiokafka that the runtime leans on.

No broker is needed. A failure here, usually after an upgrade, says which rule may no longer hold;
read the module that it names before changing the test.
"""

from __future__ import annotations

import ast
import importlib.metadata
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import pytest

import crewstream.runtime  # noqa: F401  (sets NO_CYTHON before faust is imported)

# isort: split
import aiokafka
import faust.streams
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.producer.sender import Sender, SendProduceReqHandler
from faust.app import App
from faust.stores.base import Store
from faust.tables.base import Collection
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.transport import base, conductor
from faust.transport.consumer import Consumer as FaustConsumer
from faust.transport.consumer import Fetcher as FaustFetcher
from faust.transport.drivers import aiokafka as driver
from mode.utils.queues import FlowControlEvent, FlowControlQueue

from crewstream.runtime.conductor import Conductor
from crewstream.runtime.consumer import Consumer
from crewstream.runtime.fence import Producer
from crewstream.runtime.ledger import LedgerStore
from crewstream.runtime.transport import Pump, Transport


def source(thing: Any) -> str:
    return " ".join(inspect.getsource(thing).split())


def in_order(thing: Any, *parts: str) -> bool:
    """All parts occur in the source, in this order."""
    text, at = source(thing), -1
    for part in parts:
        at = text.find(part, at + 1)
        if at < 0:
            return False
    return True


def awaits_between(function: Callable[..., Any], first: str, last: str) -> int:
    """How many awaits stand between two source lines of a function."""
    text = textwrap.dedent(inspect.getsource(function))
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines, 1) if first in line)
    end = next(i for i, line in enumerate(lines, 1) if last in line and i > start)
    return sum(
        isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith) and start < node.lineno < end
        for node in ast.walk(ast.parse(text))
    )


def test_the_versions_are_those_that_were_drilled() -> None:
    assert importlib.metadata.version("faust-streaming") == "0.15.3"
    assert aiokafka.__version__.startswith("0.14.")


def test_streams_are_not_cython() -> None:
    assert vars(faust.streams)["_CStreamIterator"] is None, (
        "Cython streams acknowledge past Consumer.ack"
    )


# -- consumer.py: take, deliver, arm ---------------------------------------------------------------


def test_a_take_hands_over_records_and_position_in_one_step() -> None:
    take = Fetcher.fetched_records
    assert not awaits_between(
        take, "for tp in list(self._records.keys())", "if drained or not timeout"
    ), "a cancelled getmany can swallow records"
    assert in_order(
        take, "if drained or not timeout: return drained", "await asyncio.wait([waiter]"
    )
    assert in_order(aiokafka.AIOKafkaConsumer.getmany, "fetched_records(", "return records")


def test_a_fatal_group_error_is_raised_by_getmany() -> None:
    assert in_order(
        aiokafka.AIOKafkaConsumer.getmany, "self._coordinator.check_errors()", "fetched_records("
    ), "Member._raise_group_errors would never see one"


def test_seek_is_one_step() -> None:
    assert not inspect.iscoroutinefunction(aiokafka.AIOKafkaConsumer.seek)
    assert "seek_to(partition, offset)" in source(aiokafka.AIOKafkaConsumer.seek)


def test_revoked_is_told_before_the_rejoin_and_assigned_after_the_new_assignment() -> None:
    prepare, complete = GroupCoordinator._on_join_prepare, GroupCoordinator._on_join_complete
    assert in_order(prepare, "listener.on_partitions_revoked(revoked)", "await res")
    assert in_order(complete, "assign_from_subscribed", "listener.on_partitions_assigned(assigned)")


def test_the_flow_resumes_after_the_seek_and_right_after_the_queues_are_cleared() -> None:
    steps = (
        "consumer.perform_seek()",
        "flow_control.resume()",
        "consumer.resume_flow()",
        "on_rebalance_end()",
    )
    for method in (Recovery._resume_streams, Recovery.on_recovery_completed):
        assert in_order(method, *steps), method.__name__
        assert not awaits_between(method, "flow_control.resume()", "consumer.resume_flow()")
    assert in_order(FlowControlEvent.resume, "self._resume.set()", "self.clear()")


def test_handing_over_to_a_queue_is_one_step() -> None:
    assert not inspect.iscoroutinefunction(FlowControlQueue.force_put_nowait)


OVERRIDDEN = {
    "_commit", "_getmany", "_new_topicpartition", "_seek", "_to_message", "ack", "close",
    "force_commit", "on_partitions_revoked", "perform_seek", "resume_flow", "seek_to_committed",
}  # fmt: skip
USED = {
    "_is_changelog_tp", "commit", "on_partitions_assigned", "pause_partitions",
    "resume_partitions", "stop_flow",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(OVERRIDDEN | USED))
def test_faust_consumer_method(name: str) -> None:
    theirs = getattr(FaustConsumer, name)
    assert callable(theirs)
    if name in OVERRIDDEN - {"_to_message", "_commit", "_seek", "_getmany", "_new_topicpartition"}:
        ours = getattr(Consumer, name)
        old, new = (len(inspect.signature(f).parameters) for f in (theirs, ours))
        assert old == new, f"Consumer.{name} no longer fits Faust's call"


def test_faust_consumer_attributes() -> None:
    text = source(FaustConsumer.__init__) + source(FaustConsumer._reset_state)
    for name in ("_active_partitions", "flow_active", "in_transaction", "app", "transport"):
        assert f"self.{name} " in text, f"Consumer reads {name}"
    assert in_order(FaustConsumer.commit, "self.force_commit(")
    assert not inspect.isabstract(Consumer)


def test_only_the_pump_takes() -> None:
    assert Transport.Fetcher is Pump
    assert "consumer._drain_messages(self)" in source(FaustFetcher), "Pump replaces this loop"
    assert "ThreadDelegateConsumer" not in [cls.__name__ for cls in Consumer.__mro__]


# -- transport.py and conductor.py: the seams ------------------------------------------------------


def test_the_transport_is_a_public_seam() -> None:
    assert isinstance(App.transport, property)
    assert App.transport.fset is not None
    assert in_order(App._new_consumer, "self.transport.create_consumer(", "self.topics.on_message")
    assert "self.transport.create_producer" in source(App._new_producer)
    assert "cast(Type[_Fetcher], self.transport.Fetcher)(" in source(App)
    assert {"Consumer", "Producer", "Conductor", "Fetcher"} <= set(vars(base.Transport))


def test_the_conductor_builds_a_handler_for_each_partition() -> None:
    build = conductor.Conductor._build_handler
    assert list(inspect.signature(build).parameters) == ["self", "tp", "channels"]
    assert in_order(conductor.Conductor._update_callback_map, "self._build_handler(tp,")
    assert Conductor._build_handler is not build


def test_changelogs_come_out_of_the_queue_of_the_table_manager() -> None:
    update = TableManager._update_channels
    assert "table.changelog_topic.clone_using_queue(self.changelog_queue)" in source(update)


# -- ledger.py and recovery.py ---------------------------------------------------------------------


def test_a_table_makes_its_store_by_new_store() -> None:
    assert "self._data = self._new_store()" in source(Collection.data.fget)


@pytest.mark.parametrize(
    "name",
    ["apply_changelog_batch", "on_rebalance", "on_recovery_completed", "persisted_offset"],
)
def test_store_method(name: str) -> None:
    theirs, ours = (inspect.signature(getattr(cls, name)) for cls in (Store, LedgerStore))
    assert len(ours.parameters) == len(theirs.parameters)


def test_tables_learn_of_a_rebalance_before_recovery_asks_for_positions() -> None:
    assert in_order(
        TableManager.on_rebalance, "table.on_rebalance", "self.recovery.on_rebalance"
    ), "a wiped partition would be recovered from its old position"
    assert "table.persisted_offset(tp)" in source(Recovery._add)


def test_recovery_counts_what_it_saw_before_it_waits() -> None:
    slurp = source(Recovery._slurp_changelogs.fun)
    assert "if seen_offset is None or offset > seen_offset: offsets[tp] = offset" in slurp
    for name in ("active_offsets", "active_highwaters"):
        assert f"self.{name} = Counter()" in source(Recovery.__init__), "TailSkipper reads these"
    assert callable(Recovery.flush_buffers)


def test_recovery_still_waits_for_a_record_at_the_end() -> None:
    remaining = source(Recovery.active_remaining)
    assert "highwater - offsets[tp]" in remaining, "if not, TailSkipper can go"


# -- fence.py --------------------------------------------------------------------------------------


def test_the_producer_service_keeps_what_new_producer_made() -> None:
    assert "self._producer = self._new_producer()" in source(driver.Producer.on_start)
    assert "return self._producer" in source(driver.Producer._ensure_producer)
    assert Producer._new_producer is not driver.Producer._new_producer


def test_every_produce_request_goes_through_the_client_of_the_sender() -> None:
    assert "self._sender = Sender(" in source(aiokafka.AIOKafkaProducer.__init__)
    assert "self._client = sender.client" in source(SendProduceReqHandler.__init__)
    assert "SendProduceReqHandler(self, batches)" in source(Sender._send_produce_req)
    classes = SendProduceReqHandler.__mro__[:2]
    assert any("self._client.send(node_id, request)" in source(cls.do) for cls in classes), (
        "the fence is passed"
    )


# -- application.py --------------------------------------------------------------------------------


def test_the_first_start_only_makes_folders() -> None:
    assert "self._create_directories()" in source(App.on_first_start)
    assert source(App.on_first_start).count("self.") == 1, "Application.on_first_start skips it"
