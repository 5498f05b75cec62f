"""Workflow state -> the status that people read."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from crewstream.contracts.codec import Codec
from crewstream.contracts.events import WorkflowState
from crewstream.errors import Undecodable
from crewstream.records import Inbound

log = logging.getLogger(__name__)

Document = dict[str, Any]

# What serves the coordinator alone.
INTERNAL = {"applied", "payloads", "request_sha256"}


def project(codec: Codec, batch: Sequence[Inbound]) -> list[tuple[str, Document | None]]:
    """The last status of each workflow in `batch`, in order of arrival; None: it is forgotten.

    A record that cannot be read is left out, with a line in the log. It is no dead letter: only
    our coordinator writes this topic, and its next record carries the whole row again.
    """
    found: dict[str, list[Document | None]] = {}
    for record in batch:
        workflow_id = (record.key or b"").decode(errors="replace")
        try:
            status = None if record.value is None else document(_state(codec, record))
        except Undecodable as error:
            log.warning("state left out", extra={"at": record.position, "reason": str(error)})
            continue
        # A tombstone stays in front of what follows it: versions then start anew.
        gone = found.get(workflow_id, [])[:1] == [None]
        found[workflow_id] = [None, status] if gone and status else [status]
    return [(workflow_id, status) for workflow_id, each in found.items() for status in each]


def document(state: WorkflowState) -> Document:
    """A row as a JSON-ready mapping: times ISO 8601, money a decimal string in US dollars."""
    found = state.model_dump(mode="json", exclude=INTERNAL)
    for usage in (found["usage"], *(task["usage"] for task in found["tasks"])):
        # A plain 0.000000000, where Decimal itself would say 0E-9.
        usage["cost_usd"] = f"{Decimal(usage['cost_usd']):f}"
    return found


def _state(codec: Codec, record: Inbound) -> WorkflowState:
    return codec.decode(record.value, WorkflowState)
