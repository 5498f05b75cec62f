"""THE MAP: every processor in data order, with the topics that it reads and writes.

Nothing else decides where an event goes; a contract test holds topics.yaml and the processes to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

REQUESTS = "{project}.workflow.requests"
COMMANDS = "workflow.commands"
SCHEDULES = "schedules"
SIGNALS = "workflow.signals"
TASKS = "{project}.tasks"
CANCELLATIONS = "task.cancellations"
RESULTS = "task.results"
STATE = "workflow.state"
PAYLOADS = "workflow.payloads"
WATCHES = "workflow.watches"
ADMISSION = "workflow.admission"
SCHEDULE_STATE = "workflow.schedules"
FINISHED = "{project}.workflow.results"
METRICS = "metrics"
ADVICE = "advice"
CATALOGUE = "catalogue"
DEAD_LETTERS = "dead-letters"


@dataclass(frozen=True, slots=True)
class Processor:
    """One box of the picture. `tables` are the changelogs of the tables that it owns."""

    name: str
    reads: Sequence[str]
    writes: Sequence[str]
    tables: Sequence[str] = ()


COORDINATOR = Processor(
    "coordinator",
    reads=(REQUESTS, COMMANDS, SCHEDULES, SIGNALS, RESULTS),
    # What stands in a wrong partition takes one more hop; a schedule asks for workflows.
    writes=(
        *(TASKS, CANCELLATIONS, FINISHED, METRICS, DEAD_LETTERS),
        *(REQUESTS, COMMANDS, SCHEDULES, SIGNALS, RESULTS),
    ),
    tables=(STATE, PAYLOADS, WATCHES, ADMISSION, SCHEDULE_STATE),
)
WORKER = Processor(
    "worker", reads=(TASKS, CANCELLATIONS), writes=(RESULTS, METRICS, CATALOGUE, DEAD_LETTERS)
)
PROJECTOR = Processor("projector", reads=(STATE,), writes=())
RECORDER = Processor(
    "recorder", reads=(METRICS, STATE, DEAD_LETTERS), writes=(ADVICE, DEAD_LETTERS)
)

PROCESSORS = (COORDINATOR, WORKER, PROJECTOR, RECORDER)
