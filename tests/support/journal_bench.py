"""Journals in a real Redis, and crews that run on them in this process."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from crewai import Crew
from crewai.events.stream_context import add_stream_sink, reset_stream_sinks
from redis import Redis

from crewstream_agents import executor
from crewstream_agents.cancellation import StopFlag
from crewstream_agents.journal import layout
from crewstream_agents.journal.replay import Journal
from crewstream_agents.journal.store import Lease, Redises
from crewstream_agents.limits.gate import Gate
from crewstream_agents.measure import Recorder
from crewstream_agents.policy import Policy
from crewstream_agents.spec import CrewTask, JournalPlace
from support.journal_crews import made

Kickoff = Callable[[Crew], Any]
Stored = tuple[str, bytes]


def kickoff(crew: Crew) -> Any:
    return crew.kickoff()


def akickoff(crew: Crew) -> Any:
    return asyncio.run(crew.akickoff())


@dataclass(frozen=True)
class Ran:
    """What came of a run, what it really called, and why it stopped."""

    output: str
    roles: list[str]
    llm: int
    tools: int
    journal: Journal
    stopped: str


class Bench:
    """`made_elsewhere`: model calls that a server has counted so far."""

    def __init__(self, url: str, made_elsewhere: Callable[[], int] = lambda: 0) -> None:
        self.redis: Any = Redis.from_url(url)
        self.prefix = f"t{uuid.uuid4().hex[:8]}"
        self.place = JournalPlace(url, self.prefix)
        self.redises = Redises(self.place, lambda: None)
        self._elsewhere = made_elsewhere

    def close(self) -> None:
        self.redises.close()
        self.redis.close()

    def lease(self, task: CrewTask, flag: StopFlag) -> Lease:
        return Lease(self.redises, task, flag)

    def run(
        self,
        crew: Crew,
        task: CrewTask,
        start: Kickoff = kickoff,
        *,
        lean: bool = True,
        offline: bool = True,
        lease: Callable[[CrewTask, StopFlag], Lease] | None = None,
        policy: Policy | None = None,
    ) -> Ran:
        """Run a crew as a runner does, and tell what it called; BaseExceptions come out."""
        executor.choose(crew.agents, {executor.EXECUTOR_SETTING: "lean" if lean else "stock"})
        flag, before = StopFlag(), self._elsewhere()
        recorder = Recorder(offline=offline)
        hold = (lease or self.lease)(task, flag)
        ends_at = time.monotonic() + task.deadline_s
        gate = Gate(task, policy or Policy(), flag, ends_at, self.redises)
        journal = Journal(task, hold, flag, recorder, gate=gate)
        made.clear()
        journal.open()
        output, roles = "", []
        sink = add_stream_sink(recorder.sink)
        try:
            with flag.watched(), journal.answering():
                result = start(crew)
            output = result.raw
            roles = [m["role"] for t in result.tasks_output for m in t.messages]
        except Exception:
            if flag.error is None:
                raise
        finally:
            reset_stream_sinks(sink)
        llm = made["llm"] + self._elsewhere() - before
        stopped = getattr(getattr(flag.error, "failure", None), "error_type", "")
        return Ran(output, roles, llm, made["tool"], journal, stopped)

    def fields(self, name: str) -> Mapping[str, bytes]:
        found = self.redis.hgetall(layout.journal_key(self.prefix, name))
        return {field.decode(): value for field, value in found.items()}

    def records(self, name: str) -> list[Stored]:
        kept = [one for one in self.fields(name).items() if one[0].startswith("r:")]
        return sorted(kept, key=lambda one: int(one[1].split(b":")[0]))

    def cut(self, task: CrewTask, records: Sequence[Stored]) -> CrewTask:
        """The same task with a journal that ends after these records."""
        name = f"{task.journal}/{len(records)}"
        key = layout.journal_key(self.prefix, name)
        self.redis.hset(key, mapping={"@epoch": 1, "@seq": len(records), **dict(records)})
        return replace(task, assignment_id=name, journal=name)

    def account(self, name: str) -> Mapping[str, int]:
        """The figures of an account."""
        found = self.redis.hgetall(layout.account_key(self.prefix, name))
        return {field.decode(): int(float(value)) for field, value in found.items()}


def new_task(**known: Any) -> CrewTask:
    name = uuid.uuid4().hex
    return CrewTask(name, "w", "t", 1, "acme", "p", "c", "", journal=name, **known)
