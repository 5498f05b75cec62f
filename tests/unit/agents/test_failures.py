"""Each error of a crew becomes a dotted type that says whether trying again may help."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any

import pytest
from crewai.tools.tool_failure import ToolExecutionFailedError, ToolFailure, ToolFailureRecord
from crewai.utilities.exceptions.context_window_exceeding_exception import (
    LLMContextLengthExceededError,
)
from openai import LengthFinishReasonError
from pydantic import BaseModel, ValidationError

from crewstream_agents.failures import NO_OUTPUT, RunRefused, failure_of, false_success


class ProviderError(Exception):
    """As the clients of providers raise it."""

    def __init__(self, status: int, retry_after: str | None = None) -> None:
        super().__init__(f"status {status}")
        self.status_code = status
        headers = {} if retry_after is None else {"retry-after": retry_after}
        self.response = SimpleNamespace(headers=headers)


def invalid() -> ValidationError:
    class Answer(BaseModel):
        """An answer."""

        a: int

    with pytest.raises(ValidationError) as caught:
        Answer.model_validate_json("{}")
    return caught.value


def tool_failed() -> ToolExecutionFailedError:
    return ToolExecutionFailedError(
        ToolFailureRecord(tool_name="t", failure=ToolFailure(message="m"))
    )


@pytest.mark.parametrize(
    ("error", "error_type", "retryable"),
    [
        (ProviderError(429), "llm.rate_limited", True),
        (ProviderError(503), "llm.unavailable", True),
        (ProviderError(401), "llm.auth", False),
        (ProviderError(400), "llm.rejected", False),
        (ConnectionError("refused"), "llm.unavailable", True),
        (ImportError("OPENAI_API_KEY is required"), "llm.auth", False),
        (ValueError("Invalid response - None or empty."), "llm.empty_answer", True),
        (LLMContextLengthExceededError("long"), "llm.context_exceeded", False),
        (tool_failed(), "tool.failed", False),
        (
            Exception("Task failed guardrail validation after 3 retries. Last error: x"),
            "guardrail.failed",
            True,
        ),
        (TimeoutError("max_execution_time"), "task.timeout", True),
        (RunRefused("task.unknown_type", "no"), "task.unknown_type", False),
        (ZeroDivisionError("x"), "crew.failed", False),
    ],
)
def test_names_what_went_wrong(error: Exception, error_type: str, *, retryable: bool) -> None:
    failure = failure_of(error)

    assert (failure.error_type, failure.retryable) == (error_type, retryable)


def test_an_answer_of_the_wrong_shape() -> None:
    assert failure_of(invalid()).error_type == "output.invalid"


def test_looks_behind_what_crewai_wraps() -> None:
    wrapped = RuntimeError("agent failed")
    wrapped.__cause__ = ProviderError(429, "7")

    assert failure_of(wrapped).retry_after_s == 7.0


def test_reads_a_date_to_wait_for() -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)

    assert 50 < (failure_of(ProviderError(429, at)).retry_after_s or 0) <= 60


def test_an_unreadable_time_to_wait_is_none() -> None:
    assert failure_of(ProviderError(503, "soon")).retry_after_s is None


def test_a_long_message_is_cut() -> None:
    assert len(failure_of(ValueError("x" * 10_000)).message) == 2_000


@pytest.mark.parametrize(
    ("output", "error_type"),
    [(NO_OUTPUT, "crew.failed"), ("<summary>\nof it\n</summary>\n", "llm.context_exceeded")],
)
def test_a_false_success_is_a_failure(output: str, error_type: str) -> None:
    failure = false_success(output)

    assert failure is not None
    assert failure.error_type == error_type


@pytest.mark.parametrize("output", ["", "fine", "see <summary>this</summary> and that"])
def test_an_answer_is_an_answer(output: str) -> None:
    assert false_success(output) is None


def test_a_structured_answer_that_was_cut_short_is_no_output() -> None:
    completion: Any = SimpleNamespace(usage=None)

    failure = failure_of(LengthFinishReasonError(completion=completion))

    assert (failure.error_type, failure.retryable) == ("output.invalid", True)
