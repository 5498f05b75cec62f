"""limits.yaml as values: what tenants and projects may use, and what models cost."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from crewstream.errors import Misconfigured

if TYPE_CHECKING:
    from pathlib import Path

EVERY_OTHER = "*"
"""The tenant or project whose limits hold for those that have none of their own."""

Count = Annotated[int, Field(ge=1)]
Money = Annotated[Decimal, Field(gt=0, max_digits=18, decimal_places=9)]
Isolation = Literal["copy", "fresh", "process"]
Price = Annotated[Decimal, Field(ge=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Budget(_Strict):
    """What model calls may use in a calendar month, UTC; absent: as much as they like."""

    max_tokens: Count | None = None
    max_cost_usd: Money | None = None


class TenantLimits(_Strict):
    """What one tenant may use.

    `weight` is its share of the workers beside other tenants; `max_open_tasks` counts the tasks of
    its running workflows. Over a limit a request waits its turn, or is rejected.
    """

    weight: Annotated[float, Field(gt=0, le=1000)] = 1.0
    max_running_workflows: Count | None = None
    max_open_tasks: Count | None = None
    when_over: Literal["wait", "reject"] = "wait"
    max_waiting_workflows: Count = 10_000
    month: Budget = Budget()

    @property
    def admits_all(self) -> bool:
        """Whether its workflows need no place to run."""
        return self.max_running_workflows is None and self.max_open_tasks is None


class ProjectLimits(_Strict):
    """What one project may use; `max_tasks` run at once in each worker process.

    `max_llm_calls`, `max_tool_calls` and `max_iterations` (model calls of one agent at one task) of
    each run. `isolation` of its runs, of all or by crew, where it is not to be as the project says.
    """

    max_tasks: Count | None = None
    month: Budget = Budget()
    max_llm_calls: Count = 1_000
    max_tool_calls: Count = 2_000
    max_iterations: Count = 1_000
    isolation: Isolation | Mapping[str, Isolation] | None = None

    def isolation_of(self, crew: str) -> str:
        """How runs of a crew are kept apart; empty: as its project says."""
        said = self.isolation
        return (said if isinstance(said, str) else (said or {}).get(crew)) or ""


class ModelPrice(_Strict):
    """What a model costs, in US dollars per million tokens."""

    input_usd: Price
    output_usd: Price
    cached_input_usd: Price | None = None


class Limits(_Strict):
    """Every limit of an installation; by default there is none."""

    version: Literal[1] = 1
    tenants: Mapping[str, TenantLimits] = {}
    projects: Mapping[str, ProjectLimits] = {}
    prices: Mapping[str, ModelPrice] = {}
    soft_ratio: Annotated[float, Field(gt=0, le=1)] = 0.8
    """The part of a budget at which it is said that it comes to its end."""

    def tenant(self, tenant_id: str) -> TenantLimits:
        """The limits of a tenant."""
        return self.tenants.get(tenant_id) or self.tenants.get(EVERY_OTHER) or _NO_TENANT_LIMITS

    def project(self, project_id: str) -> ProjectLimits:
        """The limits of a project."""
        return self.projects.get(project_id) or self.projects.get(EVERY_OTHER) or _NO_LIMITS

    @classmethod
    def load(cls, path: Path | None) -> Limits:
        """Read a file; None: no limits. Raises Misconfigured, which names every fault."""
        if path is None:
            return cls()
        try:
            return cls.model_validate(yaml.safe_load(path.read_text("utf-8")) or {})
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise Misconfigured(f"{path} cannot be read: {error}") from error
        except ValidationError as error:
            faults = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise Misconfigured(f"{path}: {'; '.join(faults)}") from error


_NO_TENANT_LIMITS = TenantLimits()
_NO_LIMITS = ProjectLimits()
NO_LIMITS = Limits()
