"""What holds for one tool: may it be called, how long, how often, and is its result kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from crewai.tools.tool_failure import ToolFailure

from crewstream_agents.limits.gate import Gate
from crewstream_agents.policy import Rate, matches
from crewstream_agents.routes import NO_RATE

NOT_ALLOWED: Final = "tool.not_allowed"
TIMEOUT: Final = "tool.timeout"
RATE_LIMITED: Final = "tool.rate_limited"
CODES: Final = frozenset({NOT_ALLOWED, TIMEOUT, RATE_LIMITED})
"""Failures of ours, as the `code` of what the model is told."""

CACHE_TTL_S: Final = 3600.0
"""How long results of a tool are kept that says `cacheable` and nothing else."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Of one tool in one run. `cache_ttl_s` 0: results are not kept; `timeout_s` None: no limit."""

    cache_ttl_s: float = 0.0
    timeout_s: float | None = None
    rate: Rate = NO_RATE


def terms(gate: Gate, tool: Any, name: str, *, external: bool) -> Terms:
    """What is configured for a tool, else what it says itself; see `tools.base`.

    Results of a tool with an effect outside are never kept.
    """
    rule = gate.policy.tools.rule(name)
    ttl_s = rule.cache_ttl_s
    if ttl_s is None:
        own_s = declared(tool, "cache_ttl_s")
        ttl_s = (CACHE_TTL_S if own_s is None else own_s) if declared(tool, "cacheable") else 0.0
    timeout_s = declared(tool, "timeout_s") if rule.timeout_s is None else rule.timeout_s
    calls = rule.calls_per_minute
    calls = declared(tool, "calls_per_minute") if calls is None else calls
    return Terms(0.0 if external else float(ttl_s), timeout_s or None, Rate(calls or 0.0))


def declared(tool: Any, name: str) -> Any:
    """What a tool says of itself, or the function of one that was made with the decorator @tool."""
    own = getattr(tool, name, None)
    return getattr(getattr(tool, "func", None), name, None) if own is None else own


def refusal(gate: Gate, name: str) -> ToolFailure | None:
    """What a model is told of a tool that it may not call: each list of the run must have it."""
    if all(any(matches(one, name) for one in allowed) for allowed in gate.task.tools):
        return None
    task = gate.task
    return ToolFailure(
        message=f"The tool {name} may not be called in project {task.project_id} for tenant"
        f" {task.tenant_id}. Do the task without it, or say that it cannot be done.",
        code=NOT_ALLOWED,
    )


def overdue(why: object) -> ToolFailure:
    """What a model is told of a tool that did not end in time."""
    return ToolFailure(message=f"{why}. It may be called again.", code=TIMEOUT, retryable=True)


def too_often(why: object) -> ToolFailure:
    """What a model is told of a tool whose rate has no place before the run must end."""
    return ToolFailure(message=f"{why}.", code=RATE_LIMITED, retryable=True)


def code_of(value: Any) -> str:
    """The error type of a tool's result; "" for one that is none of our failures."""
    code = value.code if isinstance(value, ToolFailure) else None
    return code if code in CODES else ""
