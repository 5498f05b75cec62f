"""A week of measurements with known answers: what dashboards, reports and traces are tested on."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from crewstream.contracts.codec import Codec
from crewstream.contracts.events import (
    Failure,
    Measured,
    MeasuredStatus,
    Operation,
    WorkflowState,
    WorkflowStatus,
)
from crewstream.contracts.schemas import Schemas
from crewstream.records import Inbound

OK, ERROR = MeasuredStatus.OK, MeasuredStatus.ERROR
CODEC = Codec(Schemas.load())
METRICS, STATE, LETTERS = "metrics", "state", "dead"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"

PROJECTS = ("bizoholic", "coreldove", "thrillring")
AGENTS = {
    "bizoholic": ("Market Analyst", "Copywriter"),
    "coreldove": ("Merchandiser", "Pricing Analyst"),
    "thrillring": ("Community Manager", "Event Planner"),
}
MODELS = (("openai", "gpt-5-mini", Decimal("0.0021")), ("anthropic", "claude", Decimal("0.0094")))
TOOLS = ("search", "funnel", "catalogue")
WORKFLOWS = 420


def record(event: Measured | WorkflowState, topic: str, offset: int) -> Inbound:
    """The event as it lies in Kafka."""
    return Inbound(topic, 0, offset, b"k", CODEC.encode(event), (), 0)


def week(now: datetime | None = None, seed: int = 7) -> tuple[list[Inbound], list[Inbound]]:
    """Measurements and states of WORKFLOWS workflows of two tasks, spread over the last 7 days.

    Every tenth workflow fails by its second task; every seventh retries its first once.
    """
    now, rnd = now or datetime.now(UTC), random.Random(seed)
    events: list[Measured] = []
    states: list[WorkflowState] = []
    for number in range(WORKFLOWS):
        ended = now - timedelta(hours=1) - timedelta(minutes=number * 24 * 60 * 6.5 / WORKFLOWS)
        made = list(_workflow(number, ended, rnd))
        events += made
        states.append(_state(number, ended, made))
    metrics = [record(event, METRICS, offset) for offset, event in enumerate(events)]
    return metrics, [record(state, STATE, offset) for offset, state in enumerate(states)]


def fails(number: int) -> bool:
    return number % 10 == 9


def retries(number: int) -> bool:
    return number % 7 == 3


def _whole(number: int) -> dict[str, Any]:
    return {
        "tenant_id": f"tenant-{number % 4}",
        "project_id": PROJECTS[number % 3],
        "workflow_id": f"w-{number}",
        "workflow_type": "campaign" if number % 3 == 0 else "report",
        "crew": "crew",
        "trace_id": TRACE,
        "worker": f"worker-{number % 2}",
    }


def _event(seed: str, at: datetime, **values: Any) -> Measured:
    return Measured(event_id=str(uuid5(NAMESPACE_OID, seed)), occurred_at=at, **values)


def _workflow(number: int, ended: datetime, rnd: random.Random) -> Iterator[Measured]:
    whole = _whole(number)
    for task, agent in enumerate(AGENTS[whole["project_id"]]):
        attempts = 2 if task == 0 and retries(number) else 1
        for attempt in range(1, attempts + 1):
            at = ended - timedelta(seconds=(1 - task) * 40 + (attempts - attempt) * 20)
            broken = (task == 1 and fails(number)) or attempt < attempts
            yield from _attempt(number, task, attempt, at, broken=broken, agent=agent, rnd=rnd)
    yield _event(
        f"{number}/workflow",
        ended,
        operation=Operation.INVOKE_WORKFLOW,
        status=ERROR if fails(number) else OK,
        error_type="tool.failed" if fails(number) else "",
        duration_ms=60_000 + 1000.0 * (number % 50),
        **whole,
    )


def _attempt(
    number: int,
    task: int,
    attempt: int,
    at: datetime,
    *,
    broken: bool,
    agent: str,
    rnd: random.Random,
) -> Iterator[Measured]:
    own = {
        **_whole(number),
        "task_id": f"t{task}",
        "task_type": ("research", "write")[task],
        "assignment_id": f"w-{number}/t{task}/{attempt}",
        "attempt": attempt,
        "agent": agent,
    }
    seed = own["assignment_id"]
    ms = rnd.lognormvariate(9.2, 0.5)
    provider, model, cost = MODELS[number % 2]
    for call in range(2):
        chat = {"provider": provider, "model": model, "input_tokens": 900, "output_tokens": 300}
        yield _event(
            f"{seed}/chat/{call}",
            at - timedelta(milliseconds=ms * (0.6 - 0.4 * call)),
            operation=Operation.CHAT,
            status=OK,
            duration_ms=ms * 0.3,
            cost_usd=cost,
            cached_tokens=100,
            replayed=attempt > 1 and call == 0,
            **{**own, **chat},
        )
    for operation, name, share in (
        (Operation.EXECUTE_TOOL, TOOLS[number % 3], 0.2),
        (Operation.INVOKE_AGENT, "", 0.95),
        (Operation.TASK, "", 1.0),
    ):
        yield _event(
            f"{seed}/{operation}",
            at,
            operation=operation,
            status=ERROR if broken else OK,
            error_type="tool.failed" if broken else "",
            tool=name,
            duration_ms=ms * share,
            queue_ms=rnd.expovariate(1 / 400) if operation is Operation.TASK else None,
            **own,
        )


def _state(number: int, ended: datetime, made: Sequence[Measured]) -> WorkflowState:
    whole = _whole(number)
    failure = Failure(error_type="tool.failed", message="the tool had no answer")
    return WorkflowState(
        workflow_id=whole["workflow_id"],
        tenant_id=whole["tenant_id"],
        project_id=whole["project_id"],
        workflow_type=whole["workflow_type"],
        version=3,
        status=WorkflowStatus.FAILED if fails(number) else WorkflowStatus.COMPLETED,
        requested_at=ended - timedelta(seconds=90),
        accepted_at=ended - timedelta(milliseconds=made[-1].duration_ms or 0),
        updated_at=ended,
        ended_at=ended,
        traceparent=PARENT,
        failure=failure if fails(number) else None,
    )
