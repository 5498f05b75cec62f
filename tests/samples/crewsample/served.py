"""The sample crew on a model that is served over HTTP, as the environment says where."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crewai import LLM

from crewsample.crew import PriceLookup
from crewsample.model import Choice

if TYPE_CHECKING:
    from collections.abc import Mapping

    from crewai import Crew

    from crewstream_agents.spec import CrewTask


def assign(crew: Crew, task: CrewTask, environ: Mapping[str, str]) -> Choice:
    """Give each agent a model by name, and a tool that harms nobody."""
    del task
    for each in crew.tasks:
        each.tools = [PriceLookup()]
    for agent in crew.agents:
        agent.tools = [PriceLookup()]
        agent.llm = LLM(
            model="openai/gpt-4o-mini",
            base_url=environ["SAMPLE_MODEL_URL"],
            api_key="x",
            timeout=20.0,
            max_retries=0,
        )
    return Choice("openai/gpt-4o-mini", offline=False)
