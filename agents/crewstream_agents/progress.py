"""Where a run is, from CrewAI's events: for people who look on."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from crewai.types.usage_metrics import UsageMetrics

from crewstream_agents.spec import Progress

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger(__name__)

EVERY_S: Final = 0.5
"""Between two messages of a runner that say where its runs are."""

REPEAT_S: Final = 10.0
"""What does not change is told again so often: who keeps it forgets it soon."""

_TOOL_ENDS: Final = frozenset({"tool_usage_finished", "tool_usage_error"})


class Tracker:
    """The progress of one run; fed from several threads. A step is a call of a model."""

    def __init__(self, assignment_id: str) -> None:
        self._now = Progress(assignment_id, datetime.now(UTC))
        self._told_at_s = float("-inf")
        self._news = False
        self._lock = threading.Lock()

    def sink(self, source: object, event: Any) -> None:  # noqa: ARG002 - CrewAI's signature
        """Take an event of the run. Never raises: CrewAI lets a sink's error break the crew."""
        try:
            with self._lock:
                changes = self._changes(event)
                if changes:
                    self._now = replace(self._now, at=datetime.now(UTC), **changes)
                    self._news = True
        except Exception:
            logger.exception("an event of CrewAI could not be told of: %s", event)

    def news(self, now_s: float) -> Progress | None:
        """What is to be told at this time of the monotonic clock, if anything is."""
        with self._lock:
            if not self._news and now_s - self._told_at_s < REPEAT_S:
                return None
            self._news, self._told_at_s = False, now_s
            return self._now

    def _changes(self, event: Any) -> Mapping[str, Any]:
        kind: str = event.type
        if kind == "task_started":
            return {"task": str(event.task_name or ""), "agent": "", "tool": "", "model": ""}
        if kind == "agent_execution_started":
            return {"agent": str(event.agent.role), "tool": ""}
        if kind == "llm_call_started":
            return {"model": str(event.model or ""), "step": self._now.step + 1}
        if kind == "tool_usage_started":
            return {"tool": str(event.tool_name)}
        if kind in _TOOL_ENDS:
            return {"tool": ""}
        return self._used(event.usage) if kind == "llm_call_completed" else {}

    def _used(self, reported: Mapping[str, Any] | None) -> Mapping[str, int]:
        used = UsageMetrics.from_provider_dict(dict(reported or {})) or UsageMetrics()
        return {
            "input_tokens": self._now.input_tokens + used.prompt_tokens,
            "output_tokens": self._now.output_tokens + used.completion_tokens,
        }
