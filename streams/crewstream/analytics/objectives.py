"""slo.yaml as values: the service level objectives of an installation, and their rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Protocol

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from crewstream.errors import Misconfigured

COLUMNS: Final = (
    *("name", "tenant_id", "project_id", "metric", "objective", "threshold_ms"),
    *("window_days", "active"),
)
Metric = Literal[
    "task_success", "task_latency", "task_queue", "workflow_success", "workflow_latency"
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Objective(_Strict):
    """A part of all events, between 0 and 1, that is to be good in every window.

    Good is what succeeded or, for latency and queue, what took `threshold_s` at most.
    """

    metric: Metric
    objective: Annotated[float, Field(gt=0, lt=1)]
    threshold_s: Annotated[float, Field(ge=0)] = 0
    window_days: Annotated[int, Field(ge=1, le=80)] = 28
    tenant: str = ""
    project: str = ""
    active: bool = True

    @model_validator(mode="after")
    def _has_its_threshold(self) -> Objective:
        if not self.metric.endswith("_success") and not self.threshold_s:
            raise ValueError(f"{self.metric} needs threshold_s")
        return self

    def row(self, name: str) -> Sequence[object]:
        """Its row of `slo`, in the order of COLUMNS."""
        return (
            *(name, self.tenant, self.project, self.metric, self.objective),
            *(self.threshold_s * 1000, self.window_days, self.active),
        )


class Objectives(_Strict):
    """All of slo.yaml; an objective of the name of a default replaces it."""

    version: Literal[1] = 1
    objectives: Mapping[str, Objective] = {}

    @classmethod
    def load(cls, path: Path | None) -> Objectives | None:
        """Read a file; None stands for no file. Raises Misconfigured, naming every fault."""
        if path is None:
            return None
        try:
            return cls.model_validate(yaml.safe_load(path.read_text("utf-8")) or {})
        except (OSError, yaml.YAMLError) as error:
            raise Misconfigured(f"{path} cannot be read: {error}") from None
        except ValidationError as error:
            faults = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
            raise Misconfigured(f"{path}: " + "; ".join(faults)) from None


class Table(Protocol):
    """Where objectives are kept."""

    async def query(self, sql: str) -> Any: ...

    async def insert_rows(
        self, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]]
    ) -> None: ...


async def keep(objectives: Objectives, table: Table) -> None:
    """Make `slo` say what the file says: what was there and is not in it is switched off."""
    kept = await table.query(f"SELECT {', '.join(COLUMNS)} FROM slo FINAL WHERE active")  # noqa: S608 - our own names
    gone = [(*row[:-1], False) for row in kept.rows if row[0] not in objectives.objectives]
    rows = [each.row(name) for name, each in objectives.objectives.items()]
    if rows or gone:
        await table.insert_rows("slo", COLUMNS, [*rows, *gone])
