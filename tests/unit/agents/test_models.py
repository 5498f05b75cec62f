"""Which model a run gets, from the environment that it is started with."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from crewai import LLM, Agent, Crew, Process, Task
from crewai.agent import core
from crewai.agents.agent_builder.base_agent import BaseAgent
from crewai.llm_overlay import llm_overlay
from crewai.llms import retry
from crewai.tasks.llm_guardrail import LLMGuardrail

from crewstream_agents import models, policy
from crewstream_agents.limits import serving
from crewstream_agents.models import ModelNotConfigured, assign, configured, fallbacks, own_counters
from crewstream_agents.offline.model import OFFLINE, OfflineModel
from crewstream_agents.policy import ModelPolicy, ModelSpec, Policy, Route
from crewstream_agents.routes import overlay
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


@pytest.fixture
def routed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Sets the routes of the run under way."""
    tokens: list[Any] = []

    def route(*routes: Route) -> None:
        tokens.append(policy.current.set(Policy(ModelPolicy(routes))))

    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    yield route
    for token in reversed(tokens):
        policy.current.reset(token)


def served(name: str, **known: Any) -> ModelSpec:
    return ModelSpec(name, "http://127.0.0.1:9/v1", **known)


def name_of(llm: Any) -> str:
    return str(llm.model)


def test_a_route_wins_over_what_the_crew_declares_and_the_environment(
    routed: Callable[..., None],
) -> None:
    routed(Route((served("routed", max_tokens=7, temperature=0.5, timeout_s=3.0),), agent="one"))
    made = crew(llm=LLM(model="openai/gpt-4o", api_key="k"))

    choice = assign(made, TASK, SERVER)

    given: Any = made.agents[0].llm
    assert (given.model, given.max_tokens, given.temperature, given.timeout) == (
        *("routed", 7, 0.5),
        3.0,
    )
    assert name_of(made.agents[1].llm) == "llama"
    assert choice.model == "openai/routed"


def test_models_of_a_crew_that_no_agent_has_are_routed_too(routed: Callable[..., None]) -> None:
    purposes = ("manager", "planning", "function_calling", "guardrail", "agent")
    routed(*(Route((served(purpose),), purpose=purpose) for purpose in purposes))
    made = crew(
        process=Process.hierarchical,
        manager_llm="openai/gpt-4o",
        planning=True,
        function_calling_llm="openai/gpt-4o",
    )
    made.agents[0].llm = LLM(model="openai/gpt-4o", api_key="k")
    made.tasks[0] = Task(
        description="d", expected_output="e", agent=made.agents[0], guardrail="Be kind."
    )

    assign(made, TASK, {})

    guard: Any = made.tasks[0]._guardrail  # noqa: SLF001 - guarded here
    assert [
        name_of(llm)
        for llm in (made.manager_llm, made.planning_llm, made.function_calling_llm, guard.llm)
    ] == ["manager", "planning", "function_calling", "guardrail"]
    assert {name_of(agent.llm) for agent in made.agents} == {"agent"}


def test_a_manager_agent_has_its_route(routed: Callable[..., None]) -> None:
    routed(Route((served("boss"),), purpose="manager", agent="Chief*"), Route((served("rest"),)))
    boss = Agent(role="Chief of all", goal="g", backstory="b")
    made = crew(process=Process.hierarchical, manager_agent=boss)

    assign(made, TASK, {})

    assert [name_of(one.llm) for one in (boss, *made.agents)] == ["boss", "rest", "rest"]


def test_models_behind_are_known_by_the_first(routed: Callable[..., None]) -> None:
    routed(Route((served("a"), served("b"), ModelSpec("offline"))))
    made = crew()

    assign(made, TASK, {})

    given: Any = made.agents[0].llm
    assert [name_of(one) for one in fallbacks(given)] == ["b", OFFLINE]
    assert fallbacks(LLM(model="openai/gpt-4o", api_key="k")) == ()


def test_copies_of_a_routed_model_have_the_same_behind_them(routed: Callable[..., None]) -> None:
    routed(Route((served("a"), served("b"))))
    made = crew()
    assign(made, TASK, {})

    own_counters(made)

    given: Any = made.agents[0].llm
    assert [name_of(one) for one in fallbacks(given)] == ["b"]


def test_a_route_may_be_offline(routed: Callable[..., None]) -> None:
    routed(Route((ModelSpec("offline"),)))
    made = crew(llm=LLM(model="openai/gpt-4o", api_key="k"))

    assert assign(made, TASK, {}).offline is True
    assert isinstance(made.agents[0].llm, OfflineModel)


def test_who_has_no_route_and_no_model_is_told(routed: Callable[..., None]) -> None:
    routed(Route((served("a"),), agent="one"))

    with pytest.raises(ModelNotConfigured, match=r"no route .* fits agent 'two' of p/x"):
        assign(crew(), TASK, {})


def test_a_route_whose_key_is_missing_is_told(routed: Callable[..., None]) -> None:
    routed(Route((ModelSpec("openai/a", key_env="OURS"),)))

    with pytest.raises(ModelNotConfigured, match="set OURS"):
        assign(crew(), TASK, {})


def test_a_model_made_from_a_name_while_the_crew_runs_is_routed_by_an_overlay(
    routed: Callable[..., None],
) -> None:
    routes = (Route((ModelSpec("openai/gpt-4o-mini"),)),)
    routed(*routes)
    made = crew()

    assign(made, TASK, {"OPENAI_API_KEY": "k"})
    with llm_overlay(dict(overlay(routes, "p", "x", ["one", "two"]))):
        inner = LLM(model="openai/gpt-4o", api_key="k")
        made.agents[0].interpolate_inputs({})
        made.agents[1].interpolate_inputs({})

    assert name_of(inner) == "gpt-4o-mini"
    assert made.agents[0].llm is made.agents[1].llm  # what is given stays as it is given


def test_offline_nobody_judges_by_words() -> None:
    made = crew(llm=LLM(model="openai/gpt-4o", api_key="k"))
    made.tasks[0] = Task(
        description="d", expected_output="e", agent=made.agents[0], guardrails=["Be kind."]
    )

    assign(made, TASK, {})

    assert made.tasks[0]._guardrails == []  # noqa: SLF001 - guarded here


def test_a_client_that_was_made_already_gets_a_time_limit_and_no_tries_of_its_own() -> None:
    llm: Any = LLM(model="openai/gpt-4o", api_key="k")
    own: Any = LLM(model="openai/gpt-4o", api_key="k", timeout=5.0, max_retries=4)

    for one in (llm, own):
        serving.settled(one, 7.0)

    for one, timeout_s in ((llm, 7.0), (own, 5.0)):
        for client in (one, one._client, one._async_client):  # noqa: SLF001 - guarded here
            assert (client.timeout, client.max_retries) == (timeout_s, 0)


def test_the_private_names_of_tries_are_there() -> None:
    assert getattr(retry, serving.RETRYING).get() is False
    assert isinstance(getattr(core, serving.PASSED_ON), tuple)
    guard = LLMGuardrail("g", LLM(model="openai/gpt-4o", api_key="k"))
    assert serving.GUARDRAIL in inspect.getsource(type(guard)._validate_output)  # noqa: SLF001
