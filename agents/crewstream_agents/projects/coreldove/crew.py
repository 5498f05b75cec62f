"""Its crews, in CrewAI's own conventions (agents.yaml, tasks.yaml)."""

from __future__ import annotations

from typing import Any

from crewai import Agent, Crew, Process, Task
from crewai.agents.agent_builder.base_agent import BaseAgent
from crewai.project import CrewBase, agent, before_kickoff, crew, task, tool

from crewstream_agents.projects.coreldove import outputs
from crewstream_agents.projects.coreldove.tools.analyse_funnel import AnalyseFunnel
from crewstream_agents.projects.coreldove.tools.compare_groups import CompareGroups
from crewstream_agents.projects.coreldove.tools.rank_opportunities import RankOpportunities

#: What the templates of tasks.yaml may be given.
PLACEHOLDERS = ("period",)


@CrewBase
class EcommerceOptimization:
    """Finds where the shop loses buyers and what to mend first."""

    agents: list[BaseAgent]
    tasks: list[Task]
    agents_config: Any = "config/agents.yaml"
    tasks_config: Any = "config/tasks.yaml"

    @before_kickoff
    def fill_placeholders(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return dict.fromkeys(PLACEHOLDERS, "not stated") | inputs

    @tool
    def analyse_funnel(self) -> AnalyseFunnel:
        return AnalyseFunnel()

    @tool
    def compare_groups(self) -> CompareGroups:
        return CompareGroups()

    @tool
    def rank_opportunities(self) -> RankOpportunities:
        return RankOpportunities()

    @agent
    def conversion_analyst(self) -> Agent:
        return Agent(config=self.agents_config["conversion_analyst"])

    @task
    def conversion_analysis(self) -> Task:
        return Task(  # type: ignore[call-arg]  # the rest is in tasks.yaml
            config=self.tasks_config["conversion_analysis"],
            output_pydantic=outputs.ConversionAnalysis,
        )

    @crew
    def crew(self) -> Crew:
        return Crew(agents=self.agents, tasks=self.tasks, process=Process.sequential)
