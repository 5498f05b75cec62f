"""What the worker and its runners say to each other, and how it is framed on a socket."""

from __future__ import annotations

import struct
from asyncio import IncompleteReadError, StreamReader, StreamWriter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Generic, Literal, TypeVar

from pydantic import Field, TypeAdapter

from crewstream_agents.policy import Policy
from crewstream_agents.selection import EXPLORE
from crewstream_agents.spec import (
    CrewOutcome,
    CrewTask,
    Failure,
    JournalPlace,
    ModelPrice,
    Progress,
)

_LENGTH: Final = struct.Struct(">I")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Setup:
    """What all runs of a runner share; the first message. Crews do not see it.

    `journal`: where journals are kept; None: nowhere. `prices` replace the published ones.
    `explore`: the share of choices between agents that are made to learn; None: nobody is chosen.
    `policy` says which models and tools runs may use.
    """

    journal: JournalPlace | None = None
    prices: Mapping[str, ModelPrice] = field(default_factory=dict)
    explore: float | None = EXPLORE
    policy: Policy = field(default_factory=Policy)
    kind: Literal["setup"] = "setup"


@dataclass(frozen=True, slots=True)
class Start:
    """Run this task."""

    task: CrewTask
    kind: Literal["start"] = "start"


@dataclass(frozen=True, slots=True)
class Account:
    """Run nothing: end this task with what its journal says that it has paid for."""

    task: CrewTask
    failure: Failure
    kind: Literal["account"] = "account"


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop this run; it ends with an outcome all the same."""

    assignment_id: str
    kind: Literal["cancel"] = "cancel"


@dataclass(frozen=True, slots=True)
class Alive:
    """The runner's loop turns. `strays`: stopped runs of which a thread still works."""

    strays: int = 0
    kind: Literal["alive"] = "alive"


@dataclass(frozen=True, slots=True)
class Ended:
    """A run has ended."""

    outcome: CrewOutcome
    kind: Literal["ended"] = "ended"


@dataclass(frozen=True, slots=True)
class Underway:
    """Where the runs are of which there is something new to tell."""

    news: Sequence[Progress]
    kind: Literal["underway"] = "underway"


class Channel(Generic[T]):
    """Messages of one direction: JSON behind a 4-byte length.

    JSON and not pickle: a runner executes the code of crews, the worker must not.
    """

    def __init__(self, messages: Any) -> None:
        self._adapter: TypeAdapter[T] = TypeAdapter(messages)

    def encode(self, message: T) -> bytes:
        body = self._adapter.dump_json(message)
        return _LENGTH.pack(len(body)) + body

    def send(self, writer: StreamWriter, message: T) -> None:
        """Hand a message to the transport, which never blocks; `drain` is up to the caller."""
        writer.write(self.encode(message))

    async def receive(self, reader: StreamReader) -> T | None:
        """The next message, or None when the other side is gone."""
        try:
            (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
            body = await reader.readexactly(length)
        except (IncompleteReadError, ConnectionError):
            return None
        return self._adapter.validate_json(body)


ToRunner = Setup | Start | Account | Cancel


def to_runner() -> Channel[ToRunner]:
    """The worker's messages."""
    return Channel(Annotated[ToRunner, Field(discriminator="kind")])


ToWorker = Alive | Ended | Underway


def to_worker() -> Channel[ToWorker]:
    """The runner's messages."""
    return Channel(Annotated[ToWorker, Field(discriminator="kind")])
