"""CrewTask in, CrewOutcome out: plain values; the only module that streams/ and agents/ share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum


class Status(StrEnum):
    """How a run ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Operation(StrEnum):
    """What a measured call was, in the words of the OpenTelemetry GenAI conventions."""

    INVOKE_AGENT = "invoke_agent"
    CHAT = "chat"
    EXECUTE_TOOL = "execute_tool"


@dataclass(frozen=True, slots=True)
class Upstream:
    """What a task that this one depends on has brought; `output` is empty when it was skipped."""

    task_id: str
    status: str
    output: str = ""
    output_json: str | None = None


@dataclass(frozen=True, slots=True)
class CrewTask:
    """One attempt at a task, ready to run. An empty `task_type` means the whole crew.

    `inputs` is any JSON object, from the request: data, never instructions. `deadline_s` counts
    from the start of the run.
    """

    assignment_id: str
    workflow_id: str
    task_id: str
    attempt: int
    tenant_id: str
    project_id: str
    crew: str
    task_type: str
    description: str = ""
    expected_output: str = ""
    keywords: Sequence[str] = ()
    agent: str = ""
    inputs: Mapping[str, object] = field(default_factory=dict)
    upstream: Sequence[Upstream] = ()
    deadline_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a run did not succeed; `error_type` is dotted (`llm.rate_limited`, `tool.failed`)."""

    error_type: str
    message: str
    retryable: bool = False
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What a run consumed, counted from CrewAI's events, each call once; `cost_usd` is exact."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    llm_calls: int = 0
    tool_calls: int = 0
    cost_usd: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Call:
    """One measured operation of a run. `sequence` orders them and names them within the run."""

    sequence: int
    operation: Operation
    started_at: datetime
    duration_ms: float
    agent: str = ""
    tool: str = ""
    provider: str = ""
    model: str = ""
    usage: Usage = Usage()
    error_type: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolFailure:
    """A tool that failed in a run that may have succeeded all the same."""

    tool: str
    message: str


@dataclass(frozen=True, slots=True)
class CrewOutcome:
    """How a run ended. `output` is what a person reads; `output_json` the structured result.

    `offline` says that no language model was used.
    """

    assignment_id: str
    status: Status
    started_at: datetime
    finished_at: datetime
    output: str = ""
    output_json: str | None = None
    agent: str = ""
    model: str = ""
    offline: bool = False
    failure: Failure | None = None
    usage: Usage = Usage()
    calls: Sequence[Call] = ()
    tool_failures: Sequence[ToolFailure] = ()


@dataclass(frozen=True, slots=True)
class TaskDescription:
    """A kind of task that a crew can do."""

    task_type: str
    description: str
    expected_output: str
    agent: str
    tools: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class CrewDescription:
    """A crew and the kinds of tasks that it can do."""

    crew: str
    description: str
    tasks: Sequence[TaskDescription]
    agents: Sequence[str]


@dataclass(frozen=True, slots=True)
class ProjectDescription:
    """What workers can run for one project; read without importing crewai."""

    project_id: str
    title: str
    crews: Sequence[CrewDescription]
