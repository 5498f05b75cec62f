"""The error tree: a class's docstring is its message; the tree answers "again, or dead letter?"."""

from __future__ import annotations

import inspect
from collections.abc import Sequence


class CrewstreamError(Exception):
    """Something in crewstream went wrong."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or inspect.getdoc(type(self)))


class Transient(CrewstreamError):
    """Something that crewstream depends on is away; the same event may be tried again."""


class NotNow(Transient):
    """What an event needs is taken; its place is free for others until it is tried again."""


class Unreachable(Transient):
    """A server does not answer."""


class Invalid(CrewstreamError):
    """What was given cannot be used; trying again does not help."""


class Undecodable(Invalid):
    """The bytes of a record are not an event that we know; the record goes to the dead letters."""

    def __init__(self, message: str = "", *, schema_id: int | None = None) -> None:
        super().__init__(message)
        self.schema_id = schema_id


class Conflict(Invalid):
    """Another request has this workflow_id already."""

    def __init__(self, workflow_id: str) -> None:
        super().__init__(
            f"workflow {workflow_id!r} was requested before with another content; the first request"
            " stands: give this one an id of its own"
        )


class UnknownWorkflow(Invalid):
    """There is no workflow of this id."""

    def __init__(self, workflow_id: str) -> None:
        super().__init__(f"there is no workflow {workflow_id!r}: check the id, or request it first")


class TooLarge(Invalid):
    """A record is larger than its topic takes."""


class InvalidRequest(Invalid):
    """A workflow request cannot be read."""


class InvalidSchedule(Invalid):
    """A schedule cannot be taken as it is defined."""

    def __init__(self, schedule_id: str, faults: Sequence[str]) -> None:
        super().__init__(f"schedule {schedule_id[:200]!r}: " + "; ".join(faults))


class SchemaConflict(Invalid):
    """A schema is not the locked one, or is not compatible with a released version."""


class InvalidTopics(Invalid):
    """topics.yaml breaks a rule."""


class Misconfigured(Invalid):
    """A setting is missing or cannot be used."""


class StartFailed(CrewstreamError):
    """A server or process could not be started."""
