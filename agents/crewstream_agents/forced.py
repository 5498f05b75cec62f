"""What CrewAI must find in its environment while it is imported, and what it must not."""

from __future__ import annotations

from typing import Final

FORCED_ENVIRONMENT: Final = {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "OTEL_SDK_DISABLED": "true",
}
"""CrewAI reads these while it is imported."""

TAKEN_ENVIRONMENT: Final = ("REDIS_URL",)
"""CrewAI would take any Redis for its locks, and fail with it."""

CREWAI_MODEL_NAMES: Final = ("MODEL", "MODEL_NAME", "OPENAI_MODEL_NAME")
"""CrewAI would make a client of it for each agent that it builds, before `assign` has its say."""
