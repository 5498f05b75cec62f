"""Each task type end to end: CrewAI's own loop, the real tools, the offline model."""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from crewstream_agents import registry
from crewstream_agents.offline.answer import NOTICE
from crewstream_agents.projects import bizoholic, coreldove
from crewstream_agents.projects.bizoholic.crew import MarketingStrategy
from crewstream_agents.projects.coreldove.crew import EcommerceOptimization

if TYPE_CHECKING:
    from collections.abc import Callable

# CrewAI reads fields of its own that it has deprecated, for every agent that it builds.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

EXAMPLES = Path(__file__).parents[3] / "examples"
CAMPAIGN = json.loads((EXAMPLES / "marketing_campaign.json").read_text())
QUARTERLY = json.loads((EXAMPLES / "quarterly_performance_analysis.json").read_text())
CREWS: dict[str, type[Any]] = {
    "marketing_strategy": MarketingStrategy,
    "ecommerce_optimization": EcommerceOptimization,
}


def asked() -> list[Any]:
    """Crew, task type, description and inputs of every task in the example requests."""
    crew = CAMPAIGN["crew_name"]
    campaign = [
        pytest.param(crew, task["type"], task["description"], CAMPAIGN["inputs"], id=task["type"])
        for task in CAMPAIGN["tasks"]
    ]
    quarterly = [
        pytest.param(project["crew_name"], task["type"], task["description"], {}, id=task["type"])
        for project in QUARTERLY["projects"]
        for task in project["workflow"]["tasks"]
    ]
    return [*campaign, *quarterly]


@pytest.mark.parametrize(("crew", "task_type", "description", "inputs"), asked())
def test_an_example_request_brings_the_same_result_twice(
    kick: Callable[..., Any], crew: str, task_type: str, description: str, inputs: dict[str, Any]
) -> None:
    first = kick(CREWS[crew], task_type, description, **inputs)
    assert type(first).model_validate_json(first.model_dump_json()) == first
    assert first.prepared_by == NOTICE
    assert first.notes == []
    assert kick(CREWS[crew], task_type, description, **inputs) == first


@pytest.mark.parametrize(("crew", "task_type", "description", "inputs"), asked())
def test_what_a_person_reads_has_the_figures_of_the_structure(
    kick: Callable[..., Any], crew: str, task_type: str, description: str, inputs: dict[str, Any]
) -> None:
    result = kick(CREWS[crew], task_type, description, **inputs)
    text = result.to_markdown()
    for amount in money(result):
        assert f"{amount:,.2f}" in text
    for line in (NOTICE, result.summary, *result.recommendations, *result.assumptions):
        assert line in text


# Shown by what they are made of: a rate a week, a rate of return.
NOT_SHOWN = {"revenue_per_week"}


def money(value: Any) -> list[Decimal]:
    """All amounts of money in a model, at any depth."""
    if isinstance(value, Decimal):
        return [value]
    if isinstance(value, list):
        return [amount for item in value for amount in money(item)]
    fields = getattr(type(value), "model_fields", {})
    return [a for name in fields if name not in NOT_SHOWN for a in money(getattr(value, name))]


def test_the_campaign_of_the_example_uses_its_brief(kick: Callable[..., Any]) -> None:
    result = kick(MarketingStrategy, "campaign_strategy", "", **CAMPAIGN["inputs"])
    assert (result.industry, result.audience) == ("technology", "b2b")
    assert result.budget == 50_000
    assert sum(line.amount for line in result.allocation) == 50_000
    assert sum(phase.budget for phase in result.timeline) == 50_000
    assert result.timeline[-1].last_day == result.campaign_duration == 90


@pytest.mark.parametrize(
    ("crew", "task_type"),
    [
        ("marketing_strategy", "performance_analysis"),
        ("ecommerce_optimization", "conversion_analysis"),
    ],
)
@pytest.mark.parametrize(
    ("description", "period"),
    [("Analyze Q3 performance", "2025-Q3"), ("Look at Q2 2024", "2024-Q2"), ("", "2025-Q4")],
)
def test_the_period_is_the_one_described_or_the_latest(
    kick: Callable[..., Any], crew: str, task_type: str, description: str, period: str
) -> None:
    result = kick(CREWS[crew], task_type, description)
    assert result.period == period
    assert any(period in line for line in result.assumptions)


@pytest.mark.parametrize("task_type", ["campaign_strategy", "content_generation"])
def test_no_inputs_at_all_lead_to_stated_assumptions(
    kick: Callable[..., Any], task_type: str
) -> None:
    result = kick(MarketingStrategy, task_type)
    assert any("No industry was given" in line for line in result.assumptions)


def test_an_input_that_cannot_be_used_fails_with_what_to_mend(kick: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=r"allocate_budget said.*greater than 0.*Mend the inputs"):
        kick(MarketingStrategy, "campaign_strategy", "", budget=-5)


@pytest.mark.parametrize("project", [bizoholic.PROJECT, coreldove.PROJECT])
def test_the_registry_describes_what_the_crew_has(project: registry.Project) -> None:
    for described in registry.describe(project).crews:
        crew = CREWS[described.crew]().crew()
        tools = {task.name: [tool.name for tool in task.agent.tools] for task in crew.tasks}
        assert {task.task_type: list(task.tools) for task in described.tasks} == tools
        assert all(len(names) >= 2 for names in tools.values())


def test_a_project_can_be_named_without_loading_crewai() -> None:
    names = "bizoholic", "coreldove"
    imports = "; ".join(f"import crewstream_agents.projects.{name}" for name in names)
    check = f"import sys; {imports}; sys.exit('crewai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
