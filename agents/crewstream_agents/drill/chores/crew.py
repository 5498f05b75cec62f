"""Its crew, in CrewAI's own conventions (agents.yaml, tasks.yaml)."""

from __future__ import annotations

import os
from typing import Any

from crewai import LLM, Agent, BaseLLM, Crew, Process, Task
from crewai.agents.agent_builder.base_agent import BaseAgent
from crewai.project import CrewBase, agent, crew, task, tool

from crewstream_agents.drill.tools.look_up import LookUp
from crewstream_agents.drill.tools.post_entry import PostEntry

# CrewAI takes every model with o1 in its name for one without tool calls, and talks ReAct to it.
IN_WORDS = "openai/o1"


@CrewBase
class Chores:
    """A plain tool, one with an effect outside, and one that is used in words (ReAct)."""

    agents: list[BaseAgent]
    tasks: list[Task]
    agents_config: Any = "config/agents.yaml"
    tasks_config: Any = "config/tasks.yaml"

    @tool
    def look_up(self) -> LookUp:
        return LookUp()

    @tool
    def post_entry(self) -> PostEntry:
        return PostEntry()

    @agent
    def clerk(self) -> Agent:
        return Agent(config=self.agents_config["clerk"])

    @agent
    def bookkeeper(self) -> Agent:
        return Agent(config=self.agents_config["bookkeeper"])

    @agent
    def thinker(self) -> Agent:
        return Agent(config=self.agents_config["thinker"], llm=_in_words())

    @task
    def find(self) -> Task:
        return Task(config=self.tasks_config["find"])  # type: ignore[call-arg]  # the yaml has them

    @task
    def post(self) -> Task:
        return Task(config=self.tasks_config["post"])  # type: ignore[call-arg]  # the yaml has them

    @task
    def reason(self) -> Task:
        return Task(config=self.tasks_config["reason"])  # type: ignore[call-arg]  # the yaml has them

    @crew
    def crew(self) -> Crew:
        return Crew(agents=self.agents, tasks=self.tasks, process=Process.sequential)


def _in_words() -> BaseLLM | None:
    """A model that calls tools in words, where the environment's model is; None: the usual one."""
    base_url = os.environ.get("MODEL_BASE_URL")
    if base_url is None:
        return None
    # Servers of one's own seldom check keys, but the client insists on one.
    model: BaseLLM = LLM(model=IN_WORDS, base_url=base_url, api_key="not-needed", max_retries=1)
    return model
