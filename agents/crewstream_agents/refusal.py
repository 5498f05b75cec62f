"""Why a run must not start, or must not go on; imports no crewai, for workers know it as well."""

from __future__ import annotations

from crewstream_agents.spec import Failure


class RunRefused(Exception):
    """A run cannot start, or must not go on; `failure` says why."""

    def __init__(
        self,
        error_type: str,
        message: str,
        *,
        retryable: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.failure = Failure(error_type, message, retryable, retry_after_s)
