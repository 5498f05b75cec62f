"""One frozen pydantic model per Avro record; generated, do not edit."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

from pydantic import AwareDatetime

from crewstream.contracts.record import Record


class AdmissionEntry(Record):
    """The row of one workflow as the last change left it."""

    workflow_id: str
    """Workflow."""
    tasks: int = 0
    """Its tasks."""
    next: str = ""
    """The one behind it in the queue."""
    granted: bool = False
    """It has been admitted."""
    deleted: bool = False
    """It has no row any more."""


class AdmissionState(Record):
    """A tenant's place in its limits, or that of one of its workflows, which form a queue."""

    tenant_id: str
    """Customer."""
    workflow_id: str = ""
    """Workflow; empty: the row is the tenant's own."""
    running: int = 0
    """Workflows that have been admitted and have not ended; tenant's row."""
    tasks: int = 0
    """Their tasks; of the one workflow in a workflow's row."""
    waiting: int = 0
    """Workflows in the queue; tenant's row."""
    first: str = ""
    """First workflow of the queue; tenant's row."""
    last: str = ""
    """Last one; tenant's row."""
    next: str = ""
    """The one behind it in the queue; workflow's row."""
    granted: bool = False
    """It has been admitted; workflow's row."""
    redo: tuple[AdmissionEntry, ...] = ()
    """What the last change made of rows of workflows, should a crash have come before they were written; tenant's row."""


class AdviceKind(StrEnum):
    """What advice is about: what could be better, an objective that is missed, what does not fit its rhythm."""

    UNKNOWN = "unknown"
    RECOMMENDATION = "recommendation"
    SLO = "slo"
    ANOMALY = "anomaly"


class Severity(StrEnum):
    """How urgent advice is."""

    UNKNOWN = "unknown"
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class AdviceStatus(StrEnum):
    """Whether advice still holds."""

    UNKNOWN = "unknown"
    OPEN = "open"
    RESOLVED = "resolved"


class Advised(Record):
    """Advice that the record of what was measured gives: something began, changed its severity, or is over."""

    advice_id: str
    """UUID of what it is about; the same each time that it is found."""
    occurred_at: AwareDatetime
    """When it was found so."""
    rule: str
    """Rule that found it, such as success_dropped."""
    kind: AdviceKind = AdviceKind.UNKNOWN
    """What kind of rule that is."""
    severity: Severity = Severity.UNKNOWN
    """How urgent it is."""
    status: AdviceStatus = AdviceStatus.UNKNOWN
    """Whether it still holds."""
    tenant_id: str = ""
    """Customer that it is about; empty: all."""
    project_id: str = ""
    """Project that it is about; empty: all."""
    subject: str = ""
    """What it is about: an agent, a tool, a model, an objective."""
    about: str
    """What was found, in a sentence."""
    action: str = ""
    """What to do about it, in a sentence."""
    evidence: dict[str, str] = {}
    """The figures behind it, by name."""
    query: str = ""
    """Ready-made query that shows more."""
    opened_at: AwareDatetime
    """Since when it holds."""


class Operation(StrEnum):
    """What was measured, in the words of the OpenTelemetry GenAI conventions; task, resource and budget (a limit was reached) are ours."""

    UNKNOWN = "unknown"
    INVOKE_WORKFLOW = "invoke_workflow"
    TASK = "task"
    INVOKE_AGENT = "invoke_agent"
    CHAT = "chat"
    EXECUTE_TOOL = "execute_tool"
    RESOURCE = "resource"
    BUDGET = "budget"
    SELECTION = "selection"
    DELEGATION = "delegation"


class MeasuredStatus(StrEnum):
    """How the measured operation ended."""

    UNKNOWN = "unknown"
    OK = "ok"
    ERROR = "error"
    CANCELLED = "cancelled"
    REJECTED = "rejected"


class Priority(StrEnum):
    """How urgent a workflow is."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    URGENT = "urgent"


class Measured(Record):
    """One measurement: the wide event behind every figure."""

    event_id: str
    """UUID made from what was measured, so that a replay brings the same."""
    occurred_at: AwareDatetime
    """When the operation ended."""
    tenant_id: str
    """Customer on whose behalf."""
    project_id: str
    """Project."""
    workflow_id: str = ""
    """Workflow; empty for resources."""
    task_id: str = ""
    """Task; empty when it is about the whole workflow."""
    assignment_id: str = ""
    """workflow_id/task_id/attempt; empty when it is about the whole workflow."""
    attempt: int = 0
    """Counted from 1; 0 when it is about the whole workflow."""
    operation: Operation = Operation.UNKNOWN
    """What was measured."""
    status: MeasuredStatus = MeasuredStatus.UNKNOWN
    """How it ended."""
    error_type: str = ""
    """Dotted name of the error; empty when there was none."""
    workflow_type: str = ""
    """Kind of workflow."""
    crew: str = ""
    """Crew."""
    task_type: str = ""
    """Kind of task."""
    agent: str = ""
    """Role of the agent."""
    tool: str = ""
    """Tool."""
    priority: Priority = Priority.NORMAL
    """How urgent."""
    provider: str = ""
    """Provider of the model."""
    model: str = ""
    """Model."""
    offline: bool = False
    """No language model was used."""
    replayed: bool = False
    """Answered from the journal, not paid again."""
    queue_ms: float | None = None
    """Milliseconds from assignment to start."""
    duration_ms: float | None = None
    """Milliseconds from start to end."""
    input_tokens: int = 0
    """Tokens sent to models."""
    output_tokens: int = 0
    """Tokens that models wrote."""
    cached_tokens: int = 0
    """Input tokens that the provider had cached."""
    cost_usd: Decimal = Decimal("0E-9")
    """Cost in US dollars."""
    cpu_ratio: float | None = None
    """Share of one core in use, 1 is a whole core; resource only."""
    memory_bytes: int | None = None
    """Resident memory; resource only."""
    worker: str = ""
    """Process that measured."""
    trace_id: str = ""
    """W3C trace id; empty when there is none."""
    attributes: dict[str, str] = {}
    """What has no column of its own."""


class TaskDescribed(Record):
    """A kind of task that a crew can do."""

    task_type: str
    """Its name."""
    description: str = ""
    """What it does."""
    expected_output: str = ""
    """What it brings."""
    agent: str = ""
    """Role of the agent that does it."""
    tools: tuple[str, ...] = ()
    """Tools of that agent."""
    depends_on: tuple[str, ...] = ()
    """Tasks of the crew whose outputs it gets as context, so that it follows them."""
    agents: tuple[str, ...] = ()
    """Agents that can do it; one is chosen by its record."""


class CrewDescribed(Record):
    """A crew that workers can run."""

    crew: str
    """Its name."""
    description: str = ""
    """What it is for."""
    tasks: tuple[TaskDescribed, ...] = ()
    """The kinds of tasks that it can do."""
    agents: tuple[str, ...] = ()
    """Roles of its agents."""
    kind: str = "crew"
    """crew or flow."""
    process: str = "sequential"
    """sequential or hierarchical."""
    inputs: tuple[str, ...] = ()
    """Placeholders that its inputs must fill."""


class ProjectDescribed(Record):
    """What workers can run for a project."""

    project_id: str
    """Project."""
    title: str = ""
    """Name for people."""
    crews: tuple[CrewDescribed, ...] = ()
    """Its crews."""
    announced_at: AwareDatetime
    """When."""


class Missed(StrEnum):
    """What becomes of times that passed while nothing ran."""

    LATEST = "latest"
    SKIP = "skip"
    ALL = "all"


class ScheduleDefined(Record):
    """Please run this workflow again and again."""

    schedule_id: str
    """Known by this name, unique."""
    project_id: str
    """Project whose workflow it is."""
    cron: str
    """When: a cron expression of five fields."""
    timezone: str = "UTC"
    """IANA time zone that the expression is read in."""
    missed: Missed = Missed.LATEST
    """What becomes of times that passed while nothing ran: only the latest runs, none, or all."""
    request: str
    """JSON object: the request, without workflow_id and requested_at."""
    removed: bool = False
    """The schedule is no more."""
    defined_at: AwareDatetime
    """When it was defined."""
    defined_by: str = ""
    """Who defined it."""


class ScheduleState(Record):
    """Where a recurring schedule is: the coordinator's row."""

    schedule_id: str
    """Known by this name, unique."""
    project_id: str
    """Project whose workflow it is."""
    cron: str
    """When: a cron expression of five fields."""
    timezone: str = "UTC"
    """IANA time zone that the expression is read in."""
    missed: Missed = Missed.LATEST
    """What becomes of times that passed while nothing ran."""
    request: str
    """JSON object: the request, without workflow_id and requested_at."""
    next_due_at: AwareDatetime | None = None
    """When it is due next; null: never again."""
    last_due_at: AwareDatetime | None = None
    """When it was due last."""
    last_workflow_id: str = ""
    """Workflow that it asked for last."""
    defined_at: AwareDatetime
    """When it was defined."""


class TaskStatus(StrEnum):
    """Where a task is in its life."""

    UNKNOWN = "unknown"
    PENDING = "pending"
    ASSIGNED = "assigned"
    WAITING_RETRY = "waiting_retry"
    WAITING_APPROVAL = "waiting_approval"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


class UpstreamOutput(Record):
    """What a task that this one depends on has brought."""

    task_id: str
    """Name of that task."""
    status: TaskStatus = TaskStatus.UNKNOWN
    """How it ended."""
    output: str = ""
    """Its readable output."""
    output_json: str | None = None
    """Its structured output, as JSON."""
    raw: str = ""
    """What the task's last agent said, word for word; empty: the readable output is that."""
    task_type: str = ""
    """Which of its crew's tasks it was."""
    context: bool = False
    """It is an earlier task of the same crew: CrewAI's own context."""


class TaskAssigned(Record):
    """Run this attempt at a task."""

    assignment_id: str
    """workflow_id/task_id/attempt."""
    workflow_id: str
    """Known by this name; chosen by the producer, unique, and hence the idempotency key."""
    task_id: str
    """Name of the task in its workflow."""
    attempt: int
    """Counted from 1."""
    tenant_id: str
    """Customer on whose behalf."""
    project_id: str
    """Project whose crew does it."""
    workflow_type: str = ""
    """Kind of workflow."""
    crew: str
    """Name of the crew."""
    task_type: str = ""
    """Which of the crew's tasks; empty: the whole crew."""
    agent: str = ""
    """Agent that should do it; empty: the crew decides."""
    description: str = ""
    """What to do."""
    expected_output: str = ""
    """What a good result looks like."""
    keywords: tuple[str, ...] = ()
    """Words that say what the task is about."""
    priority: Priority = Priority.NORMAL
    """How urgent."""
    inputs: str = "{}"
    """JSON object: inputs of the workflow with those of the task laid over."""
    upstream: tuple[UpstreamOutput, ...] = ()
    """Outputs of the tasks that this one depends on."""
    assigned_at: AwareDatetime
    """When."""
    deadline_at: AwareDatetime | None = None
    """When the attempt must have ended."""
    traceparent: str = ""
    """W3C trace context of the request; empty when it had none."""
    journal: str = ""
    """Name of the journal that the run writes, and is answered from: workflow_id/task_id/attempt of the first attempt that shares it; empty: that of this attempt."""
    repeat_unknown: bool = False
    """A person allowed that external calls of unknown outcome are made again."""
    accepted_at: AwareDatetime | None = None
    """When its workflow was accepted."""
    started: bool = False
    """A task of its workflow has succeeded already."""
    concurrency_key: str = ""
    """Of the tasks with the same key in a project, one runs at a time; empty: no limit."""
    max_tokens: int = 0
    """Tokens that all model calls of the workflow may use together; 0: no limit."""
    max_cost_usd: Decimal = Decimal("0E-9")
    """US dollars that all model calls of the workflow may cost together; 0: no limit."""
    part_of: str = ""
    """Task of the request that was cut into this one and others."""
    answers: tuple[str, ...] = ()
    """What people answered the crew, in the order of its questions."""


class TaskCancelled(Record):
    """An attempt that was assigned is not wanted any more."""

    assignment_id: str
    """workflow_id/task_id/attempt."""
    workflow_id: str
    """Known by this name; chosen by the producer, unique, and hence the idempotency key."""
    task_id: str
    """Name of the task in its workflow."""
    attempt: int
    """Counted from 1."""
    tenant_id: str
    """Customer on whose behalf."""
    project_id: str
    """Project whose crew does it."""
    reason: str = ""
    """Why, for the record."""
    cancelled_at: AwareDatetime
    """When."""


class Outcome(StrEnum):
    """How an attempt ended."""

    UNKNOWN = "unknown"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Failure(Record):
    """Why something did not succeed."""

    error_type: str
    """Dotted, stable name of the error, such as llm.rate_limited or task.timeout."""
    message: str = ""
    """What happened, for a person."""
    retryable: bool = False
    """Whether another attempt may help."""
    retry_after_s: float | None = None
    """Seconds to wait before another attempt, when the source said so."""


class ToolFailure(Record):
    """A tool that failed, in an attempt that may have succeeded all the same."""

    tool: str
    """Name of the tool."""
    message: str = ""
    """What it said."""


class Usage(Record):
    """What was consumed; every call counts once."""

    input_tokens: int = 0
    """Tokens sent to models."""
    output_tokens: int = 0
    """Tokens that models wrote."""
    cached_tokens: int = 0
    """Input tokens that the provider had cached."""
    llm_calls: int = 0
    """Finished calls of models."""
    tool_calls: int = 0
    """Finished calls of tools."""
    cost_usd: Decimal = Decimal("0E-9")
    """What the calls cost, in US dollars."""


class TaskOutput(Record):
    """What one of the crew's tasks returned."""

    name: str = ""
    """Name of the task."""
    description: str = ""
    """What it was asked."""
    agent: str = ""
    """Role of the agent that did it."""
    raw: str = ""
    """What the agent said, word for word."""
    json_dict: str | None = None
    """The result as JSON, of a task that declares output_json."""
    pydantic: str | None = None
    """The result as JSON, of a task that declares output_pydantic."""
    output_format: str = "raw"
    """raw, json or pydantic."""


class TokenUsage(Record):
    """Tokens of the crew, each call counted once."""

    total_tokens: int = 0
    """Prompt and completion."""
    prompt_tokens: int = 0
    """Sent to models."""
    completion_tokens: int = 0
    """Written by models."""
    cached_prompt_tokens: int = 0
    """Of the prompts, what the provider had cached."""
    successful_requests: int = 0
    """Finished calls of models."""


class CrewOutput(Record):
    """What a crew returned, in CrewAI's own names."""

    raw: str = ""
    """What the agent said, word for word."""
    json_dict: str | None = None
    """The result as JSON, of a task that declares output_json."""
    pydantic: str | None = None
    """The result as JSON, of a task that declares output_pydantic."""
    tasks_output: tuple[TaskOutput, ...] = ()
    """Of each of its tasks, in order."""
    token_usage: TokenUsage = TokenUsage()
    """What it used."""


class Candidate(Record):
    """An agent that could have done it."""

    agent: str = ""
    """Its name."""
    score: float = 0.0
    """Expected worth, 0 to 1."""
    runs: int = 0
    """Attempts that the score rests on."""
    confidence: float = 0.0
    """Half the width of the score's 95 % interval."""
    busy: bool = False
    """It was at its limit of tasks, and could not be chosen."""


class Selection(Record):
    """Which agent was chosen where several could do it, and why."""

    task_type: str = ""
    """Which of the crew's tasks; empty: a coworker whom a manager asked."""
    agent: str = ""
    """Who was chosen."""
    reason: str = ""
    """Why, for a person."""
    explored: bool = False
    """It was chosen to learn about it, not for its score."""
    candidates: tuple[Candidate, ...] = ()
    """All that could do it."""


class Delegation(Record):
    """An agent had another one do something."""

    manager: str = ""
    """Role of the agent that asked."""
    coworker: str = ""
    """Role of the agent that did it."""
    asked: str = ""
    """Role that the manager named, where another one was given the work."""
    kind: str = ""
    """delegate_work or ask_question."""
    task: str = ""
    """What was asked for."""
    context: str = ""
    """Why, and what the coworker was told beside it."""
    result: str = ""
    """What came back; shortened."""
    duration_ms: float = 0.0
    """How long it took."""


class TaskFinished(Record):
    """An attempt at a task has ended."""

    assignment_id: str
    """workflow_id/task_id/attempt."""
    workflow_id: str
    """Known by this name; chosen by the producer, unique, and hence the idempotency key."""
    task_id: str
    """Name of the task in its workflow."""
    attempt: int
    """Counted from 1."""
    tenant_id: str
    """Customer on whose behalf."""
    project_id: str
    """Project whose crew did it."""
    crew: str = ""
    """Name of the crew."""
    task_type: str = ""
    """Which of the crew's tasks."""
    status: Outcome = Outcome.UNKNOWN
    """How it ended."""
    output: str = ""
    """Readable output."""
    output_json: str | None = None
    """Structured output, as JSON."""
    agent: str = ""
    """Role of the agent that did it."""
    model: str = ""
    """Model that was used."""
    offline: bool = False
    """No language model was used: the offline model drove the tools."""
    failure: Failure | None = None
    """Why it did not succeed."""
    tool_failures: tuple[ToolFailure, ...] = ()
    """Tools that failed on the way."""
    usage: Usage = Usage()
    """What it consumed."""
    started_at: AwareDatetime
    """When the run began."""
    finished_at: AwareDatetime
    """When it ended."""
    worker: str = ""
    """Process that ran it."""
    crew_output: CrewOutput | None = None
    """What the crew returned; absent when it returned nothing."""
    selections: tuple[Selection, ...] = ()
    """Agents that were chosen by their record."""
    delegations: tuple[Delegation, ...] = ()
    """Work that agents gave one another."""


class Command(StrEnum):
    """What a person or service asks of a workflow."""

    UNKNOWN = "unknown"
    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    RETRY = "retry"
    APPROVE = "approve"
    REJECT = "reject"


class WorkflowCommanded(Record):
    """Please change the course of a workflow."""

    command_id: str
    """Unique; a command that comes twice acts once."""
    workflow_id: str
    """Known by this name; chosen by the producer, unique, and hence the idempotency key."""
    tenant_id: str = ""
    """Customer that the workflow belongs to."""
    command: Command = Command.UNKNOWN
    """What to do."""
    task_id: str = ""
    """Task concerned (approve, reject); empty: the whole workflow."""
    reason: str = ""
    """Why, for the record."""
    issued_by: str = ""
    """Who asked."""
    issued_at: AwareDatetime
    """When."""
    feedback: str = ""
    """approve only: what a person answers a crew that asked; empty: it is content."""


class WorkflowStatus(StrEnum):
    """Where a workflow is in its life."""

    UNKNOWN = "unknown"
    ACCEPTED = "accepted"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REJECTED = "rejected"


class TaskOutcome(Record):
    """How one task ended."""

    task_id: str
    """Name of the task."""
    project_id: str
    """Project whose crew did it."""
    crew: str = ""
    """Name of the crew."""
    task_type: str = ""
    """Which of the crew's tasks."""
    status: TaskStatus = TaskStatus.UNKNOWN
    """How it ended."""
    attempts: int = 0
    """Attempts that were made."""
    agent: str = ""
    """Role of the agent that did it."""
    model: str = ""
    """Model that was used."""
    offline: bool = False
    """No language model was used."""
    output: str = ""
    """Readable output."""
    output_json: str | None = None
    """Structured output, as JSON."""
    failure: Failure | None = None
    """Why it did not succeed."""
    tool_failures: tuple[ToolFailure, ...] = ()
    """Tools that failed on the way."""
    usage: Usage = Usage()
    """What it consumed."""
    started_at: AwareDatetime | None = None
    """When its last run began."""
    finished_at: AwareDatetime | None = None
    """When it ended."""
    crew_output: CrewOutput | None = None
    """What the crew returned; absent when it returned nothing."""
    selections: tuple[Selection, ...] = ()
    """Agents that were chosen by their record."""
    delegations: tuple[Delegation, ...] = ()
    """Work that agents gave one another."""


class Fault(Record):
    """One thing that is wrong with a request."""

    code: str
    """Dotted, stable name of the fault, such as task.unknown_dependency."""
    path: str = ""
    """Where it is, such as tasks[2].depends_on[0]."""
    message: str = ""
    """What is wrong and how to mend it."""


class WorkflowFinished(Record):
    """A workflow has ended."""

    workflow_id: str
    """Known by this name; chosen by the producer, unique, and hence the idempotency key."""
    tenant_id: str
    """Customer on whose behalf."""
    project_id: str
    """Project that the workflow belongs to."""
    workflow_type: str = ""
    """Kind of workflow."""
    status: WorkflowStatus = WorkflowStatus.UNKNOWN
    """How it ended: completed, partial, failed, cancelled or rejected."""
    requested_at: AwareDatetime
    """When the producer asked."""
    finished_at: AwareDatetime
    """When it ended."""
    duration_ms: float = 0.0
    """From acceptance to the end, in milliseconds."""
    tasks: tuple[TaskOutcome, ...] = ()
    """Its tasks, in the order of the request."""
    missing: tuple[str, ...] = ()
    """Tasks that brought no output, when the workflow is partial."""
    faults: tuple[Fault, ...] = ()
    """What is wrong with the request, when it was rejected."""
    failure: Failure | None = None
    """Why it did not complete."""
    usage: Usage = Usage()
    """What all its tasks consumed."""


class Coordination(StrEnum):
    """How the tasks of a workflow depend on one another."""

    DEPENDENCIES = "dependencies"
    PARALLEL = "parallel"
    SEQUENTIAL = "sequential"


class FailurePolicy(StrEnum):
    """What a task that failed for good does to its workflow: end it, let the others and its dependants run, or skip its dependants."""

    FAIL = "fail"
    CONTINUE = "continue"
    SKIP_DEPENDANTS = "skip_dependants"


class ApprovalDefault(StrEnum):
    """What follows when nobody approves or rejects in time."""

    REJECT = "reject"
    APPROVE = "approve"


class Grain(StrEnum):
    """How fine a crew is cut into tasks of the workflow."""

    CREW = "crew"
    TASKS = "tasks"


class TaskRequest(Record):
    """One task as requested."""

    task_id: str
    """Name of the task, unique in its workflow; letters, digits, dot, dash, underscore; 128 at most."""
    project_id: str = ""
    """Project whose crew does it; empty: the project of the workflow."""
    crew: str
    """Name of the crew."""
    task_type: str = ""
    """Which of the crew's tasks; empty: the whole crew."""
    agent: str = ""
    """Agent that should do it; empty: the crew decides."""
    description: str = ""
    """What to do, in words; added to the crew's own description."""
    expected_output: str = ""
    """What a good result looks like; added to the crew's own."""
    keywords: tuple[str, ...] = ()
    """Words that say what the task is about."""
    depends_on: tuple[str, ...] = ()
    """Tasks of this workflow that must end first; read when coordination is dependencies."""
    inputs: str = "{}"
    """JSON object; laid over the inputs of the workflow."""
    max_attempts: int = 0
    """Tries before the task has failed for good; 0: the default (3)."""
    timeout_s: float = 0.0
    """Seconds that one attempt may take, waiting for a worker included; 0: the default (3600)."""
    requires_approval: bool = False
    """Wait for an approve command before the task is assigned."""
    approval_timeout_s: float = 0.0
    """Seconds to wait for approve or reject; 0: the default (7 days)."""
    approval_default: ApprovalDefault = ApprovalDefault.REJECT
    """What follows when nobody answers in time."""
    concurrency_key: str = ""
    """Of the tasks with the same key in a project, one runs at a time; empty: no limit."""
    grain: Grain = Grain.CREW
    """crew: the whole crew is one task; tasks: each of the crew's own tasks is one, named task_id.name."""
    part_of: str = ""
    """Task of the request that was cut into this one and others; set by crewstream."""


class Required(StrEnum):
    """How a workflow that is waited for must have ended."""

    UNKNOWN = "unknown"
    COMPLETED = "completed"
    ENDED = "ended"


class AfterRequest(Record):
    """Another workflow that must end first."""

    workflow_id: str
    """Which one; of any project of the same tenant."""
    required: Required = Required.UNKNOWN
    """How it must have ended: completed (the default), or ended in whatever way."""


class WorkflowRequested(Record):
    """Please run this workflow."""

    workflow_id: str
    """Known by this name; chosen by the producer, unique, and hence the idempotency key."""
    tenant_id: str = ""
    """Customer on whose behalf; must not be empty."""
    project_id: str
    """Project that the workflow belongs to; its result goes to this project's results."""
    workflow_type: str = ""
    """Kind of workflow, for statistics."""
    requested_at: AwareDatetime
    """When the producer asked."""
    priority: Priority = Priority.NORMAL
    """How urgent."""
    coordination: Coordination = Coordination.DEPENDENCIES
    """How the tasks depend on one another."""
    failure_policy: FailurePolicy = FailurePolicy.FAIL
    """What a failed task does to the workflow."""
    deadline_s: float = 0.0
    """Seconds after acceptance by which the workflow must have ended; 0: none."""
    tasks: tuple[TaskRequest, ...]
    """The tasks, in order."""
    inputs: str = "{}"
    """JSON object that every task gets."""
    after: tuple[AfterRequest, ...] = ()
    """Workflows that must end before this one starts."""
    after_timeout_s: float = 0.0
    """Seconds to wait for them; 0: the default (1 day)."""
    not_before: AwareDatetime | None = None
    """When it may start at the earliest."""
    max_tokens: int = 0
    """Tokens that all its model calls may use together; 0: no limit."""
    max_cost_usd: Decimal = Decimal("0E-9")
    """US dollars that all its model calls may cost together; 0: no limit."""
    schedule_id: str = ""
    """Schedule that made this request; empty: none did."""


class Signal(StrEnum):
    """What a workflow is told from inside."""

    UNKNOWN = "unknown"
    TIMER_FIRED = "timer_fired"
    DEPENDENCY_WATCHED = "dependency_watched"
    DEPENDENCY_RESOLVED = "dependency_resolved"
    DEPENDENCY_UNWATCHED = "dependency_unwatched"
    DEPENDENCY_PROBED = "dependency_probed"
    DEPENDENCY_REFUSED = "dependency_refused"
    ADMISSION_REQUESTED = "admission_requested"
    ADMISSION_GRANTED = "admission_granted"
    ADMISSION_REFUSED = "admission_refused"
    ADMISSION_RELEASED = "admission_released"


class WorkflowSignalled(Record):
    """Something that a workflow waited for has happened."""

    signal_id: str
    """Unique; a signal that comes twice acts once."""
    workflow_id: str
    """Known by this name; chosen by the producer, unique, and hence the idempotency key."""
    signal: Signal = Signal.UNKNOWN
    """What happened."""
    due_at: AwareDatetime | None = None
    """When the timer was due."""
    source_workflow_id: str = ""
    """Workflow that the signal is about, when it is another one."""
    occurred_at: AwareDatetime
    """When."""
    tenant_id: str = ""
    """Customer that the sender belongs to."""
    required: Required = Required.UNKNOWN
    """How the watched workflow must have ended."""
    status: str = ""
    """How the workflow that the signal is about has ended; empty: it has not."""
    path: tuple[str, ...] = ()
    """Workflows that wait for one another, from the one that asked first."""
    tasks: int = 0
    """Tasks of the workflow that asks to be admitted."""
    result: bytes | None = None
    """The WorkflowFinished of the workflow that the signal is about, framed as on its topic."""


class TaskState(Record):
    """Where one task is."""

    task_id: str
    """Name of the task."""
    project_id: str
    """Project whose crew does it."""
    crew: str = ""
    """Name of the crew."""
    task_type: str = ""
    """Which of the crew's tasks."""
    status: TaskStatus = TaskStatus.UNKNOWN
    """Where it is."""
    attempt: int = 0
    """Attempts begun so far."""
    max_attempts: int = 1
    """Attempts allowed."""
    timeout_s: float = 0.0
    """Seconds that one attempt may take."""
    requires_approval: bool = False
    """Waits for an approve command."""
    depends_on: tuple[str, ...] = ()
    """Tasks that must end first."""
    agent: str = ""
    """Role of the agent that did it."""
    assigned_at: AwareDatetime | None = None
    """When the present attempt was assigned."""
    finished_at: AwareDatetime | None = None
    """When it ended."""
    due_at: AwareDatetime | None = None
    """When its timer is due: the deadline of an attempt, or the next try."""
    failure: Failure | None = None
    """Why the last attempt did not succeed."""
    usage: Usage = Usage()
    """What all its attempts consumed."""
    journal_attempt: int = 0
    """Attempt whose journal the present one continues; 0: its own."""
    repeat_unknown: bool = False
    """A person allowed that external calls of unknown outcome are made again."""
    approval_timeout_s: float = 0.0
    """Seconds to wait for approve or reject."""
    approval_default: ApprovalDefault = ApprovalDefault.REJECT
    """What follows when nobody answers in time."""
    concurrency_key: str = ""
    """Of the tasks with the same key in a project, one runs at a time; empty: no limit."""
    answers: tuple[str, ...] = ()
    """What people answered a crew that asked, in order."""


class Awaited(Record):
    """Another workflow that this one waits for."""

    workflow_id: str
    """Which one."""
    required: Required = Required.UNKNOWN
    """How it must have ended."""
    status: WorkflowStatus = WorkflowStatus.UNKNOWN
    """How it ended; unknown: not yet."""


class Admission(StrEnum):
    """Whether a tenant's limits let a workflow run."""

    UNLIMITED = "unlimited"
    WAITING = "waiting"
    GRANTED = "granted"


class WorkflowState(Record):
    """Where a workflow is: the coordinator's row, one record a transition."""

    workflow_id: str
    """Known by this name; chosen by the producer, unique, and hence the idempotency key."""
    tenant_id: str
    """Customer on whose behalf."""
    project_id: str
    """Project that the workflow belongs to."""
    workflow_type: str = ""
    """Kind of workflow."""
    version: int
    """Counted from 1; grows by one with each transition."""
    status: WorkflowStatus = WorkflowStatus.UNKNOWN
    """Where it is."""
    priority: Priority = Priority.NORMAL
    """How urgent."""
    coordination: Coordination = Coordination.DEPENDENCIES
    """How the tasks depend on one another."""
    failure_policy: FailurePolicy = FailurePolicy.FAIL
    """What a failed task does to the workflow."""
    requested_at: AwareDatetime
    """When the producer asked."""
    accepted_at: AwareDatetime
    """When the coordinator took it."""
    updated_at: AwareDatetime
    """When this transition happened."""
    ended_at: AwareDatetime | None = None
    """When it ended."""
    deadline_at: AwareDatetime | None = None
    """When it must have ended."""
    request_sha256: str = ""
    """Hash of the request as it came, to tell a repeated request from a different one."""
    traceparent: str = ""
    """W3C trace context of the request; empty when it had none."""
    tasks: tuple[TaskState, ...] = ()
    """Its tasks, in the order of the request."""
    faults: tuple[Fault, ...] = ()
    """What is wrong with the request, when it was rejected."""
    failure: Failure | None = None
    """Why it did not complete."""
    usage: Usage = Usage()
    """What all its tasks consumed."""
    applied: tuple[str, ...] = ()
    """Ids of the last commands, so that one that comes twice acts once."""
    notice: str = ""
    """The last command that was refused, and why."""
    after: tuple[Awaited, ...] = ()
    """Workflows that must end before this one starts."""
    after_due_at: AwareDatetime | None = None
    """When it stops waiting for them."""
    not_before: AwareDatetime | None = None
    """When it may start at the earliest."""
    admission: Admission = Admission.UNLIMITED
    """Whether its tenant's limits let it run."""
    max_tokens: int = 0
    """Tokens that all its model calls may use together; 0: no limit."""
    max_cost_usd: Decimal = Decimal("0E-9")
    """US dollars that all its model calls may cost together; 0: no limit."""
    payloads: dict[str, bytes] = {}
    """The request (under the empty name) and results of tasks, framed as on their topics, when they are small."""


class Watcher(Record):
    """A workflow that waits for another one."""

    workflow_id: str
    """Which one."""
    tenant_id: str
    """Customer that it belongs to."""


class WorkflowWatched(Record):
    """Who waits for a workflow: kept beside its row, or before there is one."""

    workflow_id: str
    """The workflow that is waited for."""
    watchers: tuple[Watcher, ...] = ()
    """Workflows that are told when it ends."""
