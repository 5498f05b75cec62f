"""What runs may use, as an installation configures it: plain values, as those of `spec`."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

OFFLINE = "offline"
"""The name of the model that is none: deterministic, without network and key."""


def matches(pattern: str, name: str) -> bool:
    """Whether a name fits a pattern of the shell's kind, whatever its case and outer blanks."""
    return fnmatchcase(name.strip().casefold(), pattern.strip().casefold())


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model, where it is served, and how it is asked; None: what its client takes by itself.

    `model` is `provider/name`, any name where `base_url` is an OpenAI-compatible server, or
    `offline`. `key_env` names the environment variable that has its key.
    """

    model: str
    base_url: str | None = None
    key_env: str | None = None
    timeout_s: float | None = None
    max_tokens: int | None = None
    temperature: float | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """Which models serve what: the first, and after a failure the others in their order.

    The first five are patterns. `purpose` is agent, manager, planning, function_calling or
    guardrail; `declared` is the model that the crew's own code names, "" for none.
    """

    models: tuple[ModelSpec, ...]
    project: str = "*"
    agent: str = "*"
    task_type: str = "*"
    purpose: str = "*"
    declared: str = "*"


@dataclass(frozen=True, slots=True)
class Rate:
    """How much a minute takes; 0: without limit."""

    requests_per_minute: float = 0.0
    tokens_per_minute: float = 0.0


@dataclass(frozen=True, slots=True)
class ModelPolicy:
    """Routes (the first that fits counts), and what holds for every model.

    `rates` are by patterns of `provider/name`: the first that fits, shared by all models that fit
    it, over all runners. `weights` are projects' shares where they contend. `timeout_s` is of one
    request, `retries` are tries of the last model of a route beyond the first, and `patience_s` is
    how long a call waits for a rate while its route has another model.
    """

    routes: tuple[Route, ...] = ()
    rates: Mapping[str, Rate] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    timeout_s: float = 120.0
    retries: int = 1
    patience_s: float = 5.0


@dataclass(frozen=True, slots=True)
class ToolRule:
    """What holds for a tool; None: what it says itself.

    Results are kept for `cache_ttl_s` seconds, 0 for not at all.
    """

    cache_ttl_s: float | None = None
    timeout_s: float | None = None
    calls_per_minute: float | None = None


@dataclass(frozen=True, slots=True)
class ToolPolicy:
    """Rules by patterns of tools' names, the first that fits counts; and what a refusal does."""

    rules: Mapping[str, ToolRule] = field(default_factory=dict)
    stop_when_refused: bool = False

    def rule(self, name: str) -> ToolRule:
        """What is configured for a tool."""
        return next((rule for p, rule in self.rules.items() if matches(p, name)), _NO_RULE)


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds for all runs of an installation."""

    models: ModelPolicy = ModelPolicy()
    tools: ToolPolicy = ToolPolicy()


_NO_RULE = ToolRule()

current: ContextVar[Policy | None] = ContextVar("crewstream_policy", default=None)
"""The policy of the run that this code belongs to."""
