"""Its crews, in CrewAI's own conventions (agents.yaml, tasks.yaml)."""

from __future__ import annotations

from typing import Any

from crewai import Agent, Crew, Process, Task
from crewai.agents.agent_builder.base_agent import BaseAgent
from crewai.project import CrewBase, agent, before_kickoff, crew, task, tool

from crewstream_agents.projects.bizoholic import outputs
from crewstream_agents.projects.bizoholic.tools.allocate_budget import AllocateBudget
from crewstream_agents.projects.bizoholic.tools.attribute_channels import AttributeChannels
from crewstream_agents.projects.bizoholic.tools.compare_clients import CompareClients
from crewstream_agents.projects.bizoholic.tools.compose_variants import ComposeVariants
from crewstream_agents.projects.bizoholic.tools.forecast_results import ForecastResults
from crewstream_agents.projects.bizoholic.tools.plan_ab_tests import PlanABTests
from crewstream_agents.projects.bizoholic.tools.plan_calendar import PlanCalendar
from crewstream_agents.projects.bizoholic.tools.plan_timeline import PlanTimeline

#: What the templates of tasks.yaml may be given.
PLACEHOLDERS = (
    "industry",
    "target_audience",
    "budget",
    "campaign_duration",
    "period",
    "client",
)


@CrewBase
class MarketingStrategy:
    """Plans campaigns, makes their content, and analyses what they brought."""

    agents: list[BaseAgent]
    tasks: list[Task]
    agents_config: Any = "config/agents.yaml"
    tasks_config: Any = "config/tasks.yaml"

    @before_kickoff
    def fill_placeholders(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return dict.fromkeys(PLACEHOLDERS, "not stated") | inputs

    @tool
    def allocate_budget(self) -> AllocateBudget:
        return AllocateBudget()

    @tool
    def plan_timeline(self) -> PlanTimeline:
        return PlanTimeline()

    @tool
    def forecast_results(self) -> ForecastResults:
        return ForecastResults()

    @tool
    def compose_variants(self) -> ComposeVariants:
        return ComposeVariants()

    @tool
    def plan_calendar(self) -> PlanCalendar:
        return PlanCalendar()

    @tool
    def plan_ab_tests(self) -> PlanABTests:
        return PlanABTests()

    @tool
    def compare_clients(self) -> CompareClients:
        return CompareClients()

    @tool
    def attribute_channels(self) -> AttributeChannels:
        return AttributeChannels()

    @agent
    def campaign_strategist(self) -> Agent:
        return Agent(config=self.agents_config["campaign_strategist"])

    @agent
    def content_creator(self) -> Agent:
        return Agent(config=self.agents_config["content_creator"])

    @agent
    def content_editor(self) -> Agent:
        return Agent(config=self.agents_config["content_editor"])

    @agent
    def performance_analyst(self) -> Agent:
        return Agent(config=self.agents_config["performance_analyst"])

    @task
    def campaign_strategy(self) -> Task:
        return Task(  # type: ignore[call-arg]  # the rest is in tasks.yaml
            config=self.tasks_config["campaign_strategy"],
            output_pydantic=outputs.CampaignStrategy,
        )

    @task
    def content_generation(self) -> Task:
        return Task(  # type: ignore[call-arg]  # the rest is in tasks.yaml
            config=self.tasks_config["content_generation"],
            output_pydantic=outputs.ContentPackage,
        )

    @task
    def performance_analysis(self) -> Task:
        return Task(  # type: ignore[call-arg]  # the rest is in tasks.yaml
            config=self.tasks_config["performance_analysis"],
            output_pydantic=outputs.PerformanceAnalysis,
        )

    @crew
    def crew(self) -> Crew:
        return Crew(agents=self.agents, tasks=self.tasks, process=Process.sequential)
