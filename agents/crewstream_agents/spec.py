"""CrewTask in, CrewOutcome out: plain values that streams/ and agents/ share, as of `policy`."""

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
    """What a task that this one depends on has brought; `output` is empty when it was skipped.

    `raw` is what its agent said, empty when `output` is that. `context`: it is an earlier task of
    the same crew, its `task_type`, and what CrewAI calls context.
    """

    task_id: str
    status: str
    output: str = ""
    output_json: str | None = None
    raw: str = ""
    task_type: str = ""
    context: bool = False


@dataclass(frozen=True, slots=True)
class Account:
    """What model calls are counted on, and how much it takes; 0 and None: without limit.

    `name` is such as `workflow:<id>` or `tenant:<id>:2026-11`. At `soft_ratio` of a limit it is
    told that the limit comes near.
    """

    name: str
    max_tokens: int = 0
    max_cost_usd: Decimal | None = None
    soft_ratio: float = 0.8


@dataclass(frozen=True, slots=True)
class RunLimits:
    """How much one run may do; beyond it the run ends as `limit.exceeded`.

    Calls that a journal answers count as well, so that a run that goes on is held to the same.
    `max_iterations` are the model calls of one agent at one task of the crew; CrewAI's own
    `max_iter` is below it and ends with an answer.
    """

    max_llm_calls: int = 1_000
    max_tool_calls: int = 2_000
    max_iterations: int = 1_000


@dataclass(frozen=True, slots=True)
class Candidate:
    """An agent that can do a task. `score` is its expected worth, 0 to 1, resting on `runs`.

    `confidence` is half the width of the score's 95 % interval; `busy`: at its limit of tasks.
    """

    agent: str
    score: float
    runs: int = 0
    confidence: float = 0.0
    busy: bool = False


@dataclass(frozen=True, slots=True)
class Selection:
    """Which agent was chosen where several could do it, and why.

    `task_type` is empty for a coworker whom a manager asked. `explored`: chosen to learn about it.
    `at` is when it was chosen first: a run that goes on from its journal keeps the choice.
    """

    task_type: str
    agent: str
    reason: str
    explored: bool = False
    candidates: Sequence[Candidate] = ()
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Delegation:
    """An agent had another one do something; `asked` is whom the manager named at first.

    `kind` is delegate_work or ask_question; `result` is shortened. `name` is the coworker's in its
    project, `at` when it had ended.
    """

    manager: str
    coworker: str
    kind: str
    task: str
    asked: str = ""
    context: str = ""
    result: str = ""
    duration_ms: float = 0.0
    name: str = ""
    error_type: str = ""
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class CrewTask:
    """One attempt at a task, ready to run. An empty `task_type` means the whole crew.

    `inputs` is any JSON object, from the request: data, never instructions. `deadline_s` counts
    from the start of the run; one that has passed is not run, only accounted for. `journal` names
    what keeps the finished calls of this run for the one that takes it up after a crash; attempts
    may share it. `repeat_unknown`: a person allowed that calls of external tools are made again
    whose outcome nobody knows. `part_of` names the task that was cut into this one and others.
    `answers` are what people answered the crew, in the order of its questions. `standings` has the
    records of the crew's agents by `task_type/agent`, of coworkers by `/agent`; `agent_limits` how
    many tasks an agent may have at once, over all workers. `tools` are lists of names, or patterns
    of names, of tools: one may be called that is in every list. `isolation` is copy, fresh or
    process; empty: as the project says.
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
    journal: str = ""
    repeat_unknown: bool = False
    accounts: Sequence[Account] = ()
    part_of: str = ""
    answers: Sequence[str] = ()
    standings: Mapping[str, Candidate] = field(default_factory=dict)
    agent_limits: Mapping[str, int] = field(default_factory=dict)
    tools: Sequence[Sequence[str]] = ()
    isolation: str = ""
    limits: RunLimits = RunLimits()


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
    """One measured operation of a run. `sequence` orders them and names them within the run.

    `name` is that of the journal's record of it, the same whoever reports it; `replayed`: it was
    answered from that record and used nothing.
    """

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
    name: str = ""
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class BudgetAlert:
    """A limit of an account that has come near (`soft`) or was reached (`hard`).

    `spent` and `limit` are tokens or US dollars, as `unit` says.
    """

    account: str
    level: str
    unit: str
    spent: Decimal
    limit: Decimal


@dataclass(frozen=True, slots=True)
class ToolFailure:
    """A tool that failed in a run that may have succeeded all the same."""

    tool: str
    message: str


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file that a run left in its folder, which is removed with it."""

    path: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class TaskOutput:
    """What one of a crew's tasks returned, in CrewAI's own names.

    `json_dict` and `pydantic` are JSON; `output_format` is raw, json or pydantic.
    """

    name: str
    description: str
    agent: str
    raw: str
    json_dict: str | None = None
    pydantic: str | None = None
    output_format: str = "raw"


@dataclass(frozen=True, slots=True)
class CrewOutput:
    """What a crew returned, in CrewAI's own names; `json_dict` and `pydantic` are JSON."""

    raw: str
    json_dict: str | None = None
    pydantic: str | None = None
    tasks_output: Sequence[TaskOutput] = ()


@dataclass(frozen=True, slots=True)
class CrewOutcome:
    """How a run ended. `output` is what a person reads; `output_json` the structured result.

    `offline` says that no language model was used. `epoch` is the run's lease of its journal, 0 for
    none; `calls` and `usage` have all of the journal's records up to `covered` that no outcome had
    before. `attributes` are what is measured of the task beside: `agent_name` (in its project),
    `guardrail_failures`, `quality` as the crew's own code has judged it.
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
    alerts: Sequence[BudgetAlert] = ()
    epoch: int = 0
    covered: int = 0
    crew_output: CrewOutput | None = None
    selections: Sequence[Selection] = ()
    delegations: Sequence[Delegation] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    files: Sequence[WrittenFile] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is: what is under way now, and what it has used so far."""

    assignment_id: str
    at: datetime
    task: str = ""
    agent: str = ""
    tool: str = ""
    model: str = ""
    step: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class JournalPlace:
    """Where journals are kept. Not for the eyes of crews: it travels beside the environment."""

    redis_url: str = field(repr=False)
    prefix: str


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """What a model costs, in US dollars per million tokens."""

    input_usd: Decimal
    output_usd: Decimal
    cached_input_usd: Decimal | None = None


@dataclass(frozen=True, slots=True)
class TaskDescription:
    """A kind of task that a crew can do.

    `depends_on` are the tasks that it follows, whose outputs are its context; `agents` are all that
    can do it, of which one is chosen by its record.
    """

    task_type: str
    description: str
    expected_output: str
    agent: str
    tools: Sequence[str] = ()
    depends_on: Sequence[str] = ()
    agents: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class CrewDescription:
    """A crew and the kinds of tasks that it can do.

    `kind` is crew or flow, `process` sequential or hierarchical; `inputs` are the placeholders that
    a request has to fill.
    """

    crew: str
    description: str
    tasks: Sequence[TaskDescription]
    agents: Sequence[str]
    kind: str = "crew"
    process: str = "sequential"
    inputs: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ProjectDescription:
    """What workers can run for one project; read without importing crewai."""

    project_id: str
    title: str
    crews: Sequence[CrewDescription]
