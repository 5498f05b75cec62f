"""Dead letters on a real Kafka: listed, shown, replayed once, put aside."""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from crewstream import Client, topology
from crewstream.adapters import kafka as admin
from crewstream.adapters.sender import sender
from crewstream.app import letters as app_letters
from crewstream.app.letters import DeadLetters, Wanted
from crewstream.cli import main as cli
from crewstream.config import load
from crewstream.contracts.connection import KafkaConnection
from crewstream.contracts.letters import Mark
from crewstream.contracts.topics import Topics
from crewstream.errors import Conflict, Undecodable
from crewstream.records import MOST_LETTER_BYTES, Inbound, Outbound
from support.requested import CODEC, request

if TYPE_CHECKING:
    from support.servers import Brokers

pytestmark = pytest.mark.integration

OWN = [("x-tenant", b"acme"), ("x", b"\xff")]
Run = Callable[..., str]


class Site:
    """The topics of one installation, and records that died there."""

    def __init__(self, bootstrap: str) -> None:
        self.connection, self.prefix = KafkaConnection(bootstrap), f"t{uuid.uuid4().hex[:8]}"
        self.topics = Topics.load(prefix=self.prefix, replicas=1)
        self.letters = DeadLetters(load(prefix=self.prefix, kafka_bootstrap=bootstrap))
        self.requests = self.topics.full(topology.REQUESTS, "bizoholic")

    async def prepare(self) -> None:
        await admin.apply(await admin.plan(self.topics, self.connection), self.connection)

    async def die(self, *records: Inbound, error: Exception | None = None) -> None:
        """The records become dead letters, as the processors make them."""
        topic = self.topics.full(topology.DEAD_LETTERS)
        why: Any = error or Undecodable("too short")
        async with sender(self.connection) as out:
            await out.send([record.dead_letter(topic, why) for record in records])

    def record(self, offset: int, **changes: Any) -> Inbound:
        key, value = b"w%d" % offset, b"?%d" % offset
        return replace(Inbound(self.requests, 3, offset, key, value, OWN, 1000), **changes)

    async def on(self, topic: str) -> list[Inbound]:
        client = Client(prefix=self.prefix, connection=self.connection)
        found = [r async for r in client.records(topic, start="beginning", follow=False)]
        return sorted(found, key=lambda record: (record.partition, record.offset))


@pytest.fixture
async def site(kafka: Brokers) -> Site:
    found = Site(kafka.bootstrap)
    await found.prepare()
    return found


async def test_a_letter_is_replayed_as_it_was_and_only_once(site: Site) -> None:
    await site.die(site.record(1), site.record(2, key=None))
    chosen = await site.letters.find(Wanted())
    assert [site.letters.refusal(each) for each in chosen] == ["", ""]
    assert await site.letters.replay(chosen) == 2
    back = await site.on(site.requests)
    assert {(r.partition, r.key, r.value) for r in back} == {
        (3, b"w1", b"?1"),
        (3, None, b"?2"),
    }
    assert len(back) == 2
    assert all(list(record.headers[:2]) == OWN for record in back)
    assert {name for record in back for name, _ in record.headers[2:]} == {
        "x-replayed-from",
        "x-replays",
    }
    assert await site.letters.find(Wanted()) == []
    marks = {each.mark for each in await site.letters.find(Wanted(marked=True))}
    assert marks == {Mark.REPLAYED}


async def test_one_that_dies_again_is_a_new_letter_that_counts(site: Site) -> None:
    await site.die(site.record(1))
    for times in range(1, 4):
        [filed] = await site.letters.find(Wanted())
        assert filed.letter.replays == times - 1
        await site.letters.replay([filed])
        await site.die((await site.on(site.requests))[-1])
    [last] = await site.letters.find(Wanted())
    assert last.letter.replays == 3
    assert len(await site.letters.find(Wanted(marked=True))) == 4


async def test_a_record_that_died_twice_in_its_place_is_one_letter(site: Site) -> None:
    await site.die(site.record(1), site.record(1))
    [filed] = await site.letters.find(Wanted())
    assert await site.letters.replay([filed]) == 1
    await site.die(site.record(1))
    assert await site.letters.find(Wanted()) == []


async def test_what_cannot_go_back_is_refused_with_a_reason(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crewstream.records.MOST_LETTER_BYTES", 10)
    assert MOST_LETTER_BYTES > 10
    state = site.topics.full(topology.STATE)
    await site.die(
        site.record(1, value=b"x" * 11),
        site.record(2, topic=f"{site.prefix}.nowhere"),
        site.record(3, topic=state),
    )
    async with sender(site.connection) as out:
        await out.send([Outbound(site.topics.full(topology.DEAD_LETTERS), b"foreign", b"?")])
    told = {each.key: site.letters.refusal(each) for each in await site.letters.find(Wanted())}
    assert "11 bytes" in told["w1"]
    assert f"no topic {site.prefix}.nowhere" in told["w2"]
    assert f"{state} is a table" in told["w3"]
    assert "do not say where" in told["foreign"]


async def test_thousands_go_in_batches_and_each_is_marked(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_letters, "MOST_BYTES", 20_000)
    await site.die(*(site.record(n, value=b"x" * 100) for n in range(2000)))
    chosen = await site.letters.find(Wanted())
    assert await site.letters.replay(chosen) == 2000
    assert len(await site.on(site.requests)) == 2000
    assert await site.letters.find(Wanted()) == []


@pytest.fixture
def run(
    kafka: Brokers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[Site, Run]:
    site = Site(kafka.bootstrap)
    asyncio.run(site.prepare())
    monkeypatch.setenv("CREWSTREAM_PREFIX", site.prefix)
    monkeypatch.setenv("CREWSTREAM_KAFKA_BOOTSTRAP", kafka.bootstrap)

    def call(*words: str, code: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["crewstream", "dlq", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        told = capsys.readouterr()
        assert (ended.value.code or 0) == code, told.err
        return told.out + told.err

    return site, call


def listed(run: Run, *words: str) -> Sequence[dict[str, Any]]:
    found: Sequence[dict[str, Any]] = json.loads(run("list", "--json", *words))
    return found


def test_the_command_line_shows_first_and_does_it_when_told(run: tuple[Site, Run]) -> None:
    site, call = run
    good = CODEC.encode(request("twice"))
    asyncio.run(site.die(site.record(1, value=b"\xde\xad"), site.record(2)))
    asyncio.run(site.die(site.record(3, key=b"twice", value=good), error=Conflict("twice")))
    assert len(listed(call)) == 3
    [twice] = listed(call, "--error-type", "Conflict", "--since", "1h", "--tenant", "acme")
    assert "Conflict" in call("list", "--workflow", "twice")

    shown = call("show", twice["id"])
    assert "WorkflowRequested" in shown
    assert "was requested before" in shown
    assert "de ad" in call("show", next(e["id"] for e in listed(call) if e["offset"] == 1))
    assert json.loads(call("show", twice["at"], "--json"))["event"]["workflow_id"] == "twice"
    assert "no dead letter" in call("show", "nobody", code=1)

    assert "1 would be replayed" in call("replay", twice["id"])
    assert asyncio.run(site.on(site.requests)) == []
    assert "1 replayed" in call("replay", twice["id"], "--yes")
    assert [record.value for record in asyncio.run(site.on(site.requests))] == [good]
    assert "something was done" in call("replay", twice["id"], "--yes", code=1)
    assert "1 replayed" in call("replay", twice["id"], "--yes", "--again")

    assert "2 would be discarded" in call("discard", "--topic", "bizoholic.workflow.requests")
    assert "1 discarded" in call("discard", "-n", "1", "--yes")
    assert len(listed(call)) == 1
    assert sorted(each["mark"] for each in listed(call, "--all")) == ["", "discarded", "replayed"]


def test_raw_is_the_value_as_it_came(
    kafka: Brokers, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    site = Site(kafka.bootstrap)
    asyncio.run(site.prepare())
    asyncio.run(site.die(site.record(1, value=b"\x00\xff\n")))
    [filed] = asyncio.run(site.letters.find(Wanted(until=datetime.now(UTC))))
    monkeypatch.setenv("CREWSTREAM_PREFIX", site.prefix)
    monkeypatch.setenv("CREWSTREAM_KAFKA_BOOTSTRAP", kafka.bootstrap)
    monkeypatch.setattr(sys, "argv", ["crewstream", "dlq", "show", filed.letter.id, "--raw"])
    with pytest.raises(SystemExit):
        cli.main()
    sys.stdout.flush()
    assert capfdbinary.readouterr().out == b"\x00\xff\n"
