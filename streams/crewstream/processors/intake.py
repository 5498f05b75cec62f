"""What a worker sees of an assignment before it is its turn."""

from __future__ import annotations

from crewstream.contracts.codec import Codec
from crewstream.contracts.events import TaskAssigned
from crewstream.domain.job import Job, job_of
from crewstream.errors import Transient, Undecodable
from crewstream.records import Inbound


class Intake:
    """Reads assignments for the window."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    def describe(self, record: Inbound) -> Job | None:
        """The job of an assignment; None when it cannot be read, here and now.

        Who runs it finds that again, and makes a dead letter of it, or waits.
        """
        try:
            return job_of(self._codec.decode(record.value, TaskAssigned))
        except (Undecodable, Transient):
            return None
