"""A tool without an effect: it may run again."""

from __future__ import annotations

import time

from crewai.tools import BaseTool
from pydantic import BaseModel, Field
from typing_extensions import override

from crewstream_agents.drill import traces


class Topic(BaseModel):
    """What to look up."""

    topic: str = Field(description="What to look up")


class LookUp(BaseTool):
    """Answers at once with a fact that depends on nothing but the topic."""

    name: str = "look_up"
    description: str = "Look up one fact about a topic"
    args_schema: type[BaseModel] = Topic

    @override
    def _run(self, topic: str) -> str:
        traces.leave(traces.LOOKED_UP, topic, "", time.time())
        return f"fact:{topic}"
