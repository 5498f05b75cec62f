"""One call of a model: its place in a shared rate, its tries, and the models behind it.

It is the only place where a model call is tried again. Clients do not, CrewAI's own repetition of
rate-limited calls is off inside, and its agents do not begin again after what failed here for good.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NoReturn

from crewai.agent import core
from crewai.hooks.dispatch import HookAborted
from crewai.llms import retry
from crewai.llms.base_llm import (
    BaseLLM,
    LLMCallBlockedError,
    call_stop_override,
    call_stream_override,
)

from crewstream_agents import models
from crewstream_agents.failures import RunRefused, causes, failure_of
from crewstream_agents.limits.gate import Gate, WouldWait
from crewstream_agents.limits.steps import Pause, Steps, Try
from crewstream_agents.measure import Answer, total
from crewstream_agents.offline.model import OfflineModel
from crewstream_agents.routes import rate_of
from crewstream_agents.spec import Failure

PAUSE_S: Final = 0.5
"""Before a model is tried again that did not answer; doubles with each try."""

BYTES_A_TOKEN: Final = 3
"""Less than in English prose, more than in many scripts: too much is held, not too little."""

ANSWER_TOKENS: Final = 1024
"""Held for an answer of a model whose `max_tokens` is not set."""

OWN_FAULT: Final = frozenset({"llm.rejected", "llm.context_exceeded"})
"""What the request is to blame for: CrewAI mends it, or nobody does."""

PASSING: Final = frozenset({"llm.rate_limited", "llm.unavailable"})
GONE: Final = PASSING | {"llm.auth"}

HTTP_NOT_FOUND: Final = 404
GUARDRAIL: Final = "Guardrail Agent"
"""The role of CrewAI's judge, whose errors count as a verdict and have the task done again."""

RETRYING: Final = "_active_llm_rate_limit_retry"
PASSED_ON: Final = "_passthrough_exceptions"
"""Private names of CrewAI: its repetition of rate-limited calls is under way; what an agent does
not begin again for. Guarded by a test."""


class ModelFailed(Exception):
    """A model call failed for good: its tries are used up. Its cause is what happened last."""


def install() -> None:
    """Have agents pass on what failed here for good. Once per process."""
    _never_again(ModelFailed)


def _pass_on(error: Exception) -> None:
    """What a provider says of a request it says again; CrewAI's own remedies need its own words."""
    if isinstance(getattr(error, "status_code", None), int):
        _never_again(type(error))


def _never_again(kind: type[Exception]) -> None:
    passed = getattr(core, PASSED_ON)
    if kind not in passed:
        setattr(core, PASSED_ON, (*passed, kind))


@contextmanager
def alone(llm: BaseLLM, asked: BaseLLM) -> Iterator[None]:
    """A try of `llm` on behalf of `asked`: with its stop words and streaming, not repeated."""
    active: Any = getattr(retry, RETRYING)
    token = active.set(True)
    try:
        if llm is asked:
            yield
            return
        streams = bool(asked._effective_stream())  # noqa: SLF001 - guarded by a test
        with call_stop_override(llm, asked.stop_sequences), call_stream_override(llm, streams):
            yield
    finally:
        active.reset(token)


def settled(llm: Any, timeout_s: float) -> None:
    """Give a model a time limit if it has none, and no repetition of its client's own.

    The limit of a client that was made already is set as well.
    """
    fields = type(llm).model_fields
    untimed = "timeout" in fields and llm.timeout is None
    repeats = "max_retries" in fields and llm.max_retries != 0
    if not untimed and not repeats:
        return
    if untimed:
        llm.timeout = timeout_s
    if repeats:
        llm.max_retries = 0
    for name in ("_client", "_async_client"):
        client: Any = getattr(llm, name, None)
        if hasattr(client, "max_retries") and hasattr(client, "timeout"):
            client.max_retries, client.timeout = 0, llm.timeout


def serve(
    gate: Gate,
    llm: BaseLLM,
    given: Mapping[str, Any],
    told: Sequence[Answer],
    notes: MutableMapping[str, str],
) -> Steps:
    """The answer of a model, or of one behind it.

    `given` are the arguments of `BaseLLM.call` by name, `told` what CrewAI's events say meanwhile;
    `notes` is filled with what is measured beside. Raises ModelFailed, the error of a request that
    is itself at fault, or HookAborted.
    """
    if isinstance(llm, OfflineModel):
        return (yield Try(llm))
    chain = [llm, *(one for one in models.fallbacks(llm) if _can(one, llm, given))]
    tries = [*chain, *([chain[-1]] * gate.policy.models.retries)]
    for number, one in enumerate(tries):
        behind = tries[number + 1 :]
        if one is not llm:
            notes["fallback_of"] = models.full_name(llm)
        if number:
            notes["tries"] = str(number + 1)
        most_s = gate.policy.models.patience_s if behind and behind[0] is not one else gate.left_s
        try:
            return (yield from _try(gate, one, given, told, notes, most_s=most_s))
        except (HookAborted, LLMCallBlockedError):
            raise
        except Exception as error:
            failure = failure_of(error)
            if failure.error_type in OWN_FAULT and not _missing(error):
                _pass_on(error)
                raise
            again = bool(behind) and behind[0] is one
            pause_s = _pause_s(gate, failure, number - len(chain) + 1) if again else 0.0
            hopeless = failure.error_type not in PASSING or pause_s > gate.left_s
            if not behind or (again and hopeless):
                _give_up(gate, error, failure, given)
        if pause_s:
            yield Pause(pause_s)
    raise LookupError("a chain of models has at least one")


def _try(
    gate: Gate,
    one: BaseLLM,
    given: Mapping[str, Any],
    told: Sequence[Answer],
    notes: MutableMapping[str, str],
    *,
    most_s: float,
) -> Steps:
    settled(one, gate.policy.models.timeout_s)
    model = models.full_name(one)
    name, rate = rate_of(gate.policy.models.rates, model)
    held = sum(most_tokens(one, given)) if rate.tokens_per_minute else 0
    try:
        waited_s = yield from gate.enter(name, rate, held, most_s, model)
    except WouldWait as full:
        raise RunRefused(
            "llm.rate_limited", str(full), retryable=True, retry_after_s=full.wait_s
        ) from full
    if waited_s > 0:
        notes["waited_ms"] = f"{int(notes.get('waited_ms', 0)) + waited_s * 1000:.0f}"
    before = len(told)
    try:
        result = yield Try(one)
    except Exception as error:
        failure = failure_of(error)
        if failure.error_type == "llm.rate_limited":
            yield from gate.back_off(model, failure.retry_after_s)
        yield from gate.settle(name, rate, held)
        raise
    if len(told) > before:
        used = total([answer.call for answer in told[before:]])
        yield from gate.settle(name, rate, held - used.input_tokens - used.output_tokens)
    return result


def _pause_s(gate: Gate, failure: Failure, earlier: int) -> float:
    """Before the same model is tried again. A rate that is shared has its own pause."""
    if failure.error_type == "llm.rate_limited" and gate.redis is not None:
        return 0.0
    if failure.retry_after_s is not None:
        return failure.retry_after_s
    return PAUSE_S * float(2**earlier)


def _give_up(gate: Gate, error: Exception, failure: Failure, given: Mapping[str, Any]) -> NoReturn:
    """Raise what CrewAI does not answer by beginning again."""
    if str(getattr(given.get("from_agent"), "role", "")).strip() == GUARDRAIL:
        gate.flag.stop(error)
        gate.flag.check()
    if failure.error_type in GONE or _missing(error):
        raise ModelFailed(str(error) or type(error).__name__) from error
    raise error


def _can(one: BaseLLM, asked: BaseLLM, given: Mapping[str, Any]) -> bool:
    """Whether a model can stand in: tools are described to a model in the way that it knows."""
    return not given.get("tools") or _calls_tools(one) or not _calls_tools(asked)


def _calls_tools(llm: Any) -> bool:
    knows = getattr(llm, "supports_function_calling", None)
    return bool(knows and knows())


def _missing(error: BaseException) -> bool:
    """A model that is not there (any more) is no fault of the request."""
    return any(getattr(cause, "status_code", None) == HTTP_NOT_FOUND for cause in causes(error))


def most_tokens(llm: Any, given: Mapping[str, Any]) -> tuple[int, int]:
    """The most that a call can use: tokens of its request, and of the longest answer."""
    request = f"{given.get('messages')}{given.get('tools') or ''}"
    most = getattr(llm, "max_completion_tokens", None) or getattr(llm, "max_tokens", None)
    tokens = len(request.encode("utf-8", "replace")) // BYTES_A_TOKEN + 1
    return tokens, int(most or ANSWER_TOKENS)
