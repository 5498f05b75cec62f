"""Which model a run gets, from the environment that it is started with."""

from __future__ import annotations

from typing import Any

import pytest
from crewai import LLM, Agent, Crew, Process, Task
from crewai.agents.agent_builder.base_agent import BaseAgent

from crewstream_agents import models
from crewstream_agents.models import ModelNotConfigured, assign, configured
from crewstream_agents.offline.model import OFFLINE, OfflineModel
from crewstream_agents.spec import CrewTask

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

TASK = CrewTask("w/t/1", "w", "t", 1, "acme", "p", "c", "x")
SERVER = {"MODEL": "llama", "MODEL_BASE_URL": "http://127.0.0.1:9/v1"}


def crew(llm: Any = None, **options: Any) -> Crew:
    agents: list[BaseAgent] = [
        Agent(role="one", goal="g", backstory="b", llm=llm),
        Agent(role="two", goal="g", backstory="b"),
    ]
    task = Task(description="d", expected_output="e", agent=agents[0])
    return Crew(agents=agents, tasks=[task], **options)


def test_without_a_model_every_agent_is_offline_whatever_it_declares() -> None:
    made = crew(llm=LLM(model="openai/gpt-4o", api_key="k"), planning=True)
    choice = assign(made, TASK, {})
    assert (choice.model, choice.offline) == (OFFLINE, True)
    assert all(isinstance(agent.llm, OfflineModel) for agent in made.agents)
    assert made.planning is False


def test_offline_a_manager_is_offline_too() -> None:
    made = crew(process=Process.hierarchical, manager_llm=LLM(model="openai/gpt-4o", api_key="k"))
    assign(made, TASK, {})
    assert isinstance(made.manager_llm, OfflineModel)


def test_a_server_of_ones_own_needs_no_key_and_takes_any_name() -> None:
    endpoint = configured({**SERVER, "MODEL": "meta/llama-3"})
    assert endpoint is not None
    assert (endpoint.model, endpoint.api_key) == ("openai/meta/llama-3", "not-needed")


def test_a_model_is_given_to_all_but_those_that_declare_their_own() -> None:
    own = LLM(model="openai/gpt-4o", api_key="k")
    made = crew(llm=own)
    choice = assign(made, TASK, SERVER)
    assert (choice.model, choice.offline) == ("openai/gpt-4o", False)  # of the last task's agent
    assert made.agents[0].llm is own
    given: Any = made.agents[1].llm
    assert (given.model, given.base_url) == ("llama", SERVER["MODEL_BASE_URL"])
    assert (given.timeout, given.max_retries) == (models.DEFAULT_TIMEOUT_S, models.CLIENT_RETRIES)


def test_a_declared_model_is_kept_in_a_copy_of_the_crew() -> None:
    own = LLM(model="openai/gpt-4o", api_key="k")
    made = crew(llm=own).copy()
    assign(made, TASK, SERVER)
    assert [getattr(agent.llm, "model", None) for agent in made.agents] == ["gpt-4o", "llama"]


def test_a_manager_keeps_its_own_model_or_gets_the_one_of_all() -> None:
    own = LLM(model="openai/gpt-4o", api_key="k")
    made = crew(process=Process.hierarchical, manager_llm=own)
    assign(made, TASK, SERVER)
    assert made.manager_llm is own
    boss = Agent(role="boss", goal="g", backstory="b")
    led = crew(process=Process.hierarchical, manager_agent=boss)
    assign(led, TASK, SERVER)
    assert getattr(boss.llm, "model", None) == "llama"


def test_runs_share_one_client() -> None:
    one, other = crew(), crew()
    assign(one, TASK, SERVER)
    assign(other, TASK, SERVER)
    assert one.agents[0].llm is other.agents[1].llm


@pytest.mark.parametrize(
    ("environ", "mend"),
    [
        ({"MODEL": "openai/gpt-4o"}, "set OPENAI_API_KEY"),
        ({"MODEL": "gemini/flash"}, "set GEMINI_API_KEY or GOOGLE_API_KEY"),
        ({"MODEL": "gpt-4o"}, "openai/gpt-4o"),
        ({"MODEL_BASE_URL": "http://127.0.0.1:9/v1"}, "set MODEL"),
        ({**SERVER, "MODEL_TIMEOUT_S": "soon"}, "'soon' is not a number"),
        ({**SERVER, "MODEL_TIMEOUT_S": "0"}, "above zero"),
        ({"MODEL": "anyone/model"}, "cannot be used for w/t/1"),
    ],
)
def test_what_is_missing_is_said_before_any_call(environ: dict[str, str], mend: str) -> None:
    with pytest.raises(ModelNotConfigured, match=mend):
        assign(crew(), TASK, environ)


def test_the_key_is_not_in_the_words_of_an_endpoint() -> None:
    endpoint = configured({"MODEL": "openai/gpt-4o", "OPENAI_API_KEY": "sk-secret"})
    assert endpoint is not None
    assert endpoint.api_key == "sk-secret"
    assert "sk-secret" not in repr(endpoint)


def test_openais_own_variable_points_elsewhere_too() -> None:
    endpoint = configured({"MODEL": "gpt-x", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"})
    assert endpoint is not None
    assert (endpoint.model, endpoint.base_url) == ("openai/gpt-x", "http://127.0.0.1:9/v1")
