"""What the tools of several projects share: one base, statistics, quarters, money, markdown."""

from crewstream_agents.tools.outcome import NOT_PERFORMED, NotPerformed, idempotency_key

__all__ = ["NOT_PERFORMED", "NotPerformed", "idempotency_key"]
