"""Both projects' crews on a "real" model: CrewAI's OpenAI client, over HTTP, with tools."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pytest

from crewstream_agents.spec import CrewTask
from support.openai_stub import OpenAIStub

with warnings.catch_warnings():
    # CrewAI's own import warns; in our code a warning is an error, here it is not ours.
    warnings.simplefilter("ignore")
    from crewstream_agents import models
    from crewstream_agents.projects.bizoholic.crew import MarketingStrategy
    from crewstream_agents.projects.coreldove.crew import EcommerceOptimization

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.integration,
    # CrewAI reads fields of its own that it has deprecated, for every agent that it builds.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

CASES = [
    (
        MarketingStrategy,
        "campaign_strategy",
        ["allocate_budget", "plan_timeline", "forecast_results"],
    ),
    (
        MarketingStrategy,
        "content_generation",
        ["compose_variants", "plan_calendar", "plan_ab_tests"],
    ),
    (MarketingStrategy, "performance_analysis", ["compare_clients", "attribute_channels"]),
    (
        EcommerceOptimization,
        "conversion_analysis",
        ["analyse_funnel", "compare_groups", "rank_opportunities"],
    ),
]


@pytest.mark.parametrize(("maker", "task_type", "tools"), CASES)
def test_a_crew_runs_on_a_model_that_is_served_over_http(
    maker: Any, task_type: str, tools: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREWAI_STORAGE_DIR", str(tmp_path))
    asked = CrewTask("w/t/1", "w", "t", 1, "acme", "p", "c", task_type)
    crew = maker().crew()
    crew.tasks = [task for task in crew.tasks if task.name == task_type]
    with OpenAIStub() as stub:
        environ = {"MODEL": "some/model", "MODEL_BASE_URL": stub.base_url}
        choice = models.assign(crew, asked, environ)
        result = crew.kickoff(inputs={"industry": "dairy"})
    assert (choice.model, choice.offline) == ("openai/some/model", False)
    assert {body["model"] for body in stub.requests} == {"some/model"}
    assert stub.tools_called() == tools
    assert_tools_worked(stub)
    assert isinstance(result.pydantic, crew.tasks[0].output_pydantic)
    assert result.pydantic.prepared_by == ""
    assert "stub" in result.pydantic.to_markdown()


def assert_tools_worked(stub: OpenAIStub) -> None:
    results = [message for message in stub.requests[-1]["messages"] if message["role"] == "tool"]
    assert results
    assert all(message["content"].startswith("{") for message in results)


def test_the_key_travels_to_the_server_that_is_configured() -> None:
    with OpenAIStub() as stub:
        environ = {
            "MODEL": "openai/m",
            "OPENAI_BASE_URL": stub.base_url,
            "OPENAI_API_KEY": "sk-here",
        }
        crew = EcommerceOptimization().crew()
        models.assign(crew, CrewTask("w/t/1", "w", "t", 1, "acme", "p", "c", ""), environ)
        given: Any = crew.agents[0].llm
        assert given.call("hello") == "stub: nothing to say"
    assert stub.authorizations == ["Bearer sk-here"]
