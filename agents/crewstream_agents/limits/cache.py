"""Results of tools in Redis, for later calls alike: by tenant, project, tool and arguments.

Only what a tool returned is kept, no errors; the record is that of a journal.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from crewstream_agents.limits.gate import Gate

GET: Final = "return redis.call('GET', KEYS[1])"
SET: Final = "return redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])"


MOST_BYTES: Final = 1_048_576
"""Of a result that is kept."""


class Kept:
    """The place of a call's result. Both methods block for a round trip, or while Redis is away."""

    def __init__(self, gate: Gate, name: str) -> None:
        self._gate, self._name = gate, name

    def get(self) -> bytes | None:
        """What an earlier call has left there. Raises HookAborted."""
        found = self._ask(GET)
        return bytes(found) if found is not None else None

    def put(self, data: bytes, ttl_s: float) -> None:
        """Leave a result for `ttl_s` seconds, unless it is too large. Raises HookAborted."""
        if len(data) <= MOST_BYTES:
            self._ask(SET, data, max(1, round(ttl_s * 1000)))

    def _ask(self, script: str, *args: Any) -> Any:
        redis = self._gate.redis
        if redis is None:
            return None
        return redis.ask(script, [f"{redis.prefix}:{self._name}"], args, self._gate.flag)


def place(gate: Gate, tool: str, arguments: object) -> Kept | None:
    """Where a call's result is kept; None for arguments that are more than plain JSON."""
    task = gate.task
    try:
        asked = json.dumps([task.tenant_id, task.project_id, tool, arguments], sort_keys=True)
    except (TypeError, ValueError):
        return None
    made = hashlib.sha256(asked.encode()).hexdigest()[:32]
    return Kept(gate, f"tool-result:{task.project_id}:{tool}:{made}")
