"""What an exception of a run means: a dotted error type, and whether trying again may help."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from crewai.tools.tool_failure import ToolExecutionFailedError
from crewai.utilities.converter import ConverterError
from crewai.utilities.exceptions.context_window_exceeding_exception import (
    LLMContextLengthExceededError,
)
from pydantic import ValidationError

from crewstream_agents.refusal import RunRefused
from crewstream_agents.spec import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LONGEST_MESSAGE", "NO_OUTPUT", "RunRefused", "failure_of", "false_success"]

LONGEST_MESSAGE: Final = 2_000
"""Characters of an error message that travel; providers quote whole requests in theirs."""

NO_OUTPUT: Final = "Agent completed execution but produced no final output."
"""What CrewAI returns, as a success, when its recovery from a long context found no answer."""

_SUMMARY: Final = re.compile(r"^\s*<summary>.*</summary>\s*$", re.DOTALL)
_GUARDRAIL: Final = re.compile(r"^Task failed .* validation after \d+ retries")
_UNAVAILABLE: Final = ("APIConnectionError", "APITimeoutError", "ServiceUnavailableError")
CUT_SHORT: Final = "LengthFinishReasonError"
"""What the OpenAI client raises for a structured answer that its token limit cut short."""

_RETRYABLE_STATUS: Final = frozenset({408, 409, 425})


def failure_of(error: BaseException) -> Failure:
    """The failure behind an error that a crew raised, looked for along its chain of causes."""
    for cause in causes(error):
        failure = _recognise(cause)
        if failure is not None:
            return failure
    return Failure("crew.failed", _message(error))


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what caused it, the nearest first."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def false_success(output: str) -> Failure | None:
    """The failure behind an answer that CrewAI took for one: its fallback, or its own summary."""
    if output.strip() == NO_OUTPUT:
        return Failure("crew.failed", "The crew ended without an answer.", retryable=True)
    if _SUMMARY.match(output):
        return Failure(
            "llm.context_exceeded",
            "The context window overflowed, and the summary of it came back in place of an answer.",
        )
    return None


def _recognise(error: BaseException) -> Failure | None:
    message = _message(error)
    if (declared := _declared(error, message)) is not None:
        return declared
    if isinstance(error, LLMContextLengthExceededError):
        return Failure("llm.context_exceeded", message)
    if isinstance(error, ToolExecutionFailedError):
        return Failure("tool.failed", message, error.record.failure.retryable)
    if isinstance(error, ValidationError | ConverterError):
        return Failure("output.invalid", message, retryable=True)
    if _GUARDRAIL.match(message):
        return Failure("guardrail.failed", message, retryable=True)
    return _of_status(error, message) or _of_model(error, message)


def _declared(error: BaseException, message: str) -> Failure | None:
    """What an error of ours says about itself."""
    if isinstance(error, RunRefused):
        return error.failure
    error_type = getattr(type(error), "error_type", None)
    return Failure(error_type, message) if isinstance(error_type, str) else None


def _of_status(error: BaseException, message: str) -> Failure | None:
    """The providers' clients differ; their errors have the HTTP status in common."""
    status = getattr(error, "status_code", None)
    if not isinstance(status, int):
        return None
    if status == 429:  # noqa: PLR2004 - HTTP's own number
        return Failure("llm.rate_limited", message, retryable=True, retry_after_s=_wait_s(error))
    if status in {401, 403}:
        return Failure("llm.auth", message)
    if status >= 500 or status in _RETRYABLE_STATUS:  # noqa: PLR2004 - HTTP's own number
        return Failure("llm.unavailable", message, retryable=True, retry_after_s=_wait_s(error))
    return Failure("llm.rejected", message)


def _of_model(error: BaseException, message: str) -> Failure | None:
    if type(error).__name__ in _UNAVAILABLE or isinstance(error, ConnectionError):
        return Failure("llm.unavailable", message, retryable=True)
    if type(error).__name__ == CUT_SHORT:
        return Failure("output.invalid", message, retryable=True)
    if isinstance(error, TimeoutError):
        return Failure("task.timeout", message, retryable=True)
    if "API_KEY" in message:
        return Failure("llm.auth", message)
    if "None or empty" in message:
        return Failure("llm.empty_answer", message, retryable=True)
    return None


def _wait_s(error: BaseException) -> float | None:
    """Seconds that the provider asks us to wait, from `Retry-After` (RFC 9110: number or date)."""
    headers = getattr(getattr(error, "response", None), "headers", None)
    value = headers.get("retry-after") if headers is not None else None
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None


def _message(error: BaseException) -> str:
    return (str(error) or type(error).__name__)[:LONGEST_MESSAGE]
