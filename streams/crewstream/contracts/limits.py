"""limits.yaml as values: what tenants and projects may use, and what models cost."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

from crewstream.contracts.files import File, Strict

EVERY_OTHER = "*"
"""The tenant or project whose limits hold for those that have none of their own."""

Count = Annotated[int, Field(ge=1)]
Money = Annotated[Decimal, Field(gt=0, max_digits=18, decimal_places=9)]
Isolation = Literal["copy", "fresh", "process"]
Price = Annotated[Decimal, Field(ge=0)]
Patterns = tuple[Annotated[str, Field(min_length=1)], ...]


class Budget(Strict):
    """What model calls may use in a calendar month, UTC; absent: as much as they like."""

    max_tokens: Count | None = None
    max_cost_usd: Money | None = None


class TenantLimits(Strict):
    """What one tenant may use.

    `weight` is its share of the workers beside other tenants; `max_open_tasks` counts the tasks of
    its running workflows. Over a limit a request waits its turn, or is rejected. `tools` are names
    or patterns of those that its crews may call; absent: all.
    """

    weight: Annotated[float, Field(gt=0, le=1000)] = 1.0
    max_running_workflows: Count | None = None
    max_open_tasks: Count | None = None
    when_over: Literal["wait", "reject"] = "wait"
    max_waiting_workflows: Count = 10_000
    month: Budget = Budget()
    tools: Patterns | None = None

    @property
    def admits_all(self) -> bool:
        """Whether its workflows need no place to run."""
        return self.max_running_workflows is None and self.max_open_tasks is None


class AgentLimits(Strict):
    """What one agent may do; of its tasks at most `max_tasks` run at once, over all workers."""

    max_tasks: Count | None = None


class ProjectLimits(Strict):
    """What one project may use; `max_tasks` run at once in each worker process.

    `agents` are named as in agents.yaml; `tools` as those of tenants. `max_llm_calls`,
    `max_tool_calls` and `max_iterations` (model calls of one agent at one task) of each run.
    `isolation` of its runs, of all or by crew, where it is not to be as the project says.
    """

    max_tasks: Count | None = None
    agents: Mapping[str, AgentLimits] = {}
    month: Budget = Budget()
    tools: Patterns | None = None
    max_llm_calls: Count = 1_000
    max_tool_calls: Count = 2_000
    max_iterations: Count = 1_000
    isolation: Isolation | Mapping[str, Isolation] | None = None

    def isolation_of(self, crew: str) -> str:
        """How runs of a crew are kept apart; empty: as its project says."""
        said = self.isolation
        return (said if isinstance(said, str) else (said or {}).get(crew)) or ""


class ToolLimits(Strict):
    """What holds for a tool, whatever it says itself; `cache_ttl_s` 0: its results are not kept."""

    cache_ttl_s: Annotated[float, Field(ge=0)] | None = None
    timeout_s: Annotated[float, Field(gt=0)] | None = None
    calls_per_minute: Annotated[float, Field(gt=0)] | None = None


class ModelPrice(Strict):
    """What a model costs, in US dollars per million tokens."""

    input_usd: Price
    output_usd: Price
    cached_input_usd: Price | None = None


class Limits(File):
    """Every limit of an installation; by default there is none."""

    version: Literal[1] = 1
    tenants: Mapping[str, TenantLimits] = {}
    projects: Mapping[str, ProjectLimits] = {}
    prices: Mapping[str, ModelPrice] = {}
    tools: Mapping[str, ToolLimits] = {}
    when_tool_refused: Literal["tell", "stop"] = "tell"
    soft_ratio: Annotated[float, Field(gt=0, le=1)] = 0.8
    """The part of a budget at which it is said that it comes to its end."""

    def tenant(self, tenant_id: str) -> TenantLimits:
        """The limits of a tenant."""
        return self.tenants.get(tenant_id) or self.tenants.get(EVERY_OTHER) or _NO_TENANT_LIMITS

    def project(self, project_id: str) -> ProjectLimits:
        """The limits of a project."""
        return self.projects.get(project_id) or self.projects.get(EVERY_OTHER) or _NO_LIMITS

    def allowed_tools(self, tenant_id: str, project_id: str) -> list[Patterns]:
        """Lists of patterns: a tool may be called that is in every one of them."""
        lists = self.tenant(tenant_id).tools, self.project(project_id).tools
        return [each for each in lists if each is not None]


_NO_TENANT_LIMITS = TenantLimits()
_NO_LIMITS = ProjectLimits()
NO_LIMITS = Limits()
