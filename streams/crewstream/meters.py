"""The catalogue of metrics: every name, what it means, and the labels that it is counted by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

CounterName = Literal[
    "crewstream_dead_letters_total",
    "crewstream_workflows_total",
    "crewstream_tasks_total",
    "crewstream_tokens_total",
    "crewstream_cost_usd_total",
    "crewstream_tool_calls_total",
    "crewstream_rows_written_total",
]
HistogramName = Literal[
    "crewstream_workflow_seconds",
    "crewstream_task_seconds",
    "crewstream_task_queue_seconds",
    "crewstream_tool_seconds",
    "crewstream_insert_seconds",
]
GaugeName = Literal[
    "crewstream_ready",
    "crewstream_lag_records",
    "crewstream_last_insert_timestamp_seconds",
    "crewstream_window_jobs",
    "crewstream_window_bytes",
    "crewstream_recommendations",
    "crewstream_slo_budget_ratio",
    "crewstream_slo_burn_rate",
    "crewstream_advised_timestamp_seconds",
    "crewstream_backlog_seconds",
    "crewstream_runners",
    "crewstream_slots",
    "crewstream_slots_busy",
    "crewstream_runners_bytes",
    "crewstream_cpu_ratio",
    "crewstream_memory_ratio",
]


@dataclass(frozen=True, slots=True)
class Metric:
    """What a metric means and the labels that it is counted by."""

    about: str
    labels: tuple[str, ...] = ()


COUNTERS: dict[CounterName, Metric] = {
    "crewstream_dead_letters_total": Metric("Records that could not be used.", ("topic",)),
    "crewstream_workflows_total": Metric("Workflows that ended.", ("project", "status")),
    "crewstream_tasks_total": Metric("Attempts that ended.", ("project", "status")),
    "crewstream_tokens_total": Metric("Tokens, input and output.", ("project", "direction")),
    "crewstream_cost_usd_total": Metric("What models cost, in US dollars.", ("project",)),
    "crewstream_tool_calls_total": Metric(
        "Calls of tools: ok, cached, failed or refused.", ("project", "tool", "result")
    ),
    "crewstream_rows_written_total": Metric("Rows written to ClickHouse.", ("topic",)),
}
HISTOGRAMS: dict[HistogramName, Metric] = {
    "crewstream_workflow_seconds": Metric("From acceptance to the end.", ("project",)),
    "crewstream_task_seconds": Metric("From start to end of a run.", ("project",)),
    "crewstream_task_queue_seconds": Metric("From assignment to start.", ("project",)),
    "crewstream_tool_seconds": Metric("From start to end of a tool's call.", ("project", "tool")),
    "crewstream_insert_seconds": Metric("From a batch of records to its rows in ClickHouse."),
}
GAUGES: dict[GaugeName, Metric] = {
    "crewstream_ready": Metric("1 when the process does its work."),
    "crewstream_lag_records": Metric(
        "Records of a process's partitions that it has not done yet.", ("topic",)
    ),
    "crewstream_last_insert_timestamp_seconds": Metric(
        "When the recorder last stored something, in seconds since 1970."
    ),
    "crewstream_window_jobs": Metric("Assignments that wait in a worker's window.", ("project",)),
    "crewstream_window_bytes": Metric("Size of all records that a worker holds undone."),
    "crewstream_recommendations": Metric("Advice that is open.", ("rule", "severity")),
    "crewstream_slo_budget_ratio": Metric(
        "What is left of an objective's error budget; below 0 it is missed.", ("slo",)
    ),
    "crewstream_slo_burn_rate": Metric(
        "How fast it burns; 1 uses it up exactly at the end of the window.", ("slo", "window")
    ),
    "crewstream_advised_timestamp_seconds": Metric("When the record was last asked for advice."),
    "crewstream_backlog_seconds": Metric(
        "How long what could run now would keep this worker's slots busy.", ("project",)
    ),
    "crewstream_runners": Metric("Runner processes of a worker that take runs."),
    "crewstream_slots": Metric("Runs that a worker can have at once."),
    "crewstream_slots_busy": Metric("Runs that it has."),
    "crewstream_runners_bytes": Metric("Resident memory of its runners."),
    "crewstream_cpu_ratio": Metric("Processors in use, of those that a worker may use."),
    "crewstream_memory_ratio": Metric("Memory in use, of that which a worker may use."),
}


class Meter(Protocol):
    """Where processors count."""

    def count(self, name: CounterName, by: float = 1, **labels: str) -> None: ...

    def observe(self, name: HistogramName, value: float, **labels: str) -> None: ...

    def gauge(self, name: GaugeName, value: float, **labels: str) -> None: ...
