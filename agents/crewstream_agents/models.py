"""Which model a run uses: the offline one, or the one that the environment names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Final

from crewai import LLM, Agent, BaseLLM
from crewai.constants import DEFAULT_LLM_MODEL

from crewstream_agents.offline.model import OFFLINE, OfflineModel

if TYPE_CHECKING:
    from crewai import Crew
    from crewai.agents.agent_builder.base_agent import BaseAgent

    from crewstream_agents.spec import CrewTask

#: Seconds that one HTTP request to a model may take, unless MODEL_TIMEOUT_S says else.
DEFAULT_TIMEOUT_S: Final = 120.0
#: Tries that the client makes again by itself; beyond that the workflow's own policy decides.
CLIENT_RETRIES: Final = 1

# The key of each provider that takes one; a provider that is not here is left to check its own.
_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "anthropic": ("ANTHROPIC_API_KEY",),
    "azure": ("AZURE_API_KEY",),
    "cerebras": ("CEREBRAS_API_KEY",),
    "dashscope": ("DASHSCOPE_API_KEY",),
    "deepinfra": ("DEEPINFRA_API_KEY",),
    "deepseek": ("DEEPSEEK_API_KEY",),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "openai": ("OPENAI_API_KEY",),
    "openrouter": ("OPENROUTER_API_KEY",),
}


class ModelNotConfigured(ValueError):
    """The environment names a model that cannot be called; the message says what to set."""

    error_type: ClassVar[str] = "model.not_configured"


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """What a run uses: `model` as it is reported, and whether no language model is behind it."""

    model: str
    offline: bool


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model, where it is served, and how long a request to it may take."""

    model: str
    base_url: str | None
    api_key: str | None = field(repr=False)
    timeout_s: float


def assign(crew: Crew, task: CrewTask, environ: Mapping[str, str]) -> ModelChoice:
    """Give every agent of a crew its model and say which one it is.

    Without `MODEL` that is the offline model for all. With it, agents that declare an llm of their
    own keep it. Raises ModelNotConfigured when the model cannot be called as it is configured.
    """
    endpoint = configured(environ)
    if endpoint is None:
        _go_offline(crew)
        return ModelChoice(OFFLINE, offline=True)
    try:
        model = _client(endpoint)
    except (ImportError, ValueError) as error:
        raise ModelNotConfigured(
            f"MODEL={endpoint.model!r} cannot be used for {task.assignment_id}: {error}"
        ) from error
    defaults = {DEFAULT_LLM_MODEL, environ["MODEL"]}
    for agent in _staff(crew):
        if not _declared(agent.llm, defaults):
            agent.llm = model
    return ModelChoice(endpoint.model, offline=False)


def choice_of(environ: Mapping[str, str]) -> ModelChoice:
    """What a run uses whose models are made as it goes. Raises ModelNotConfigured."""
    endpoint = configured(environ)
    return ModelChoice(endpoint.model if endpoint else OFFLINE, offline=endpoint is None)


def substitute(environ: Mapping[str, str]) -> Callable[[str], BaseLLM | None]:
    """The model for each one that code builds by its name; None: the one of that name.

    Without `MODEL` that is the offline model for all. With it, only CrewAI's own default, which
    nobody chose, gives way. Raises ModelNotConfigured.
    """
    endpoint = configured(environ)
    if endpoint is None:
        return lambda _: OfflineModel()
    default = DEFAULT_LLM_MODEL.rpartition("/")[2]
    return lambda name: _client(endpoint) if name.rpartition("/")[2] == default else None


def missing_keys(model: str, environ: Mapping[str, str]) -> Sequence[str]:
    """The variables of which one has to be set for a model; none when one is, or none is needed."""
    provider, slash, _ = model.partition("/")
    names = _KEYS.get(provider if slash else "openai", ())
    return () if any(environ.get(name) for name in names) else names


def configured(environ: Mapping[str, str]) -> Endpoint | None:
    """Return the model that the environment names, or None when it names none.

    `MODEL` is `provider/name`, or any name when `MODEL_BASE_URL` or `OPENAI_BASE_URL`
    gives an OpenAI-compatible server; such a server needs no key.
    """
    model = environ.get("MODEL", "").strip()
    base_url = environ.get("MODEL_BASE_URL")
    if not model:
        if base_url:
            raise ModelNotConfigured(
                "MODEL_BASE_URL is set but MODEL is not: set MODEL to the name of a "
                "model of that server."
            )
        return None
    timeout_s = _timeout_s(environ)
    provider, slash, _ = model.partition("/")
    if not base_url and (not slash or provider == "openai"):
        base_url = environ.get("OPENAI_BASE_URL")
    if base_url:
        name = model.removeprefix("openai/")
        # Servers of one's own seldom check keys, but the client insists on one.
        key = environ.get("OPENAI_API_KEY") or "not-needed"
        return Endpoint(f"openai/{name}", base_url, key, timeout_s)
    if not slash:
        raise ModelNotConfigured(
            f"MODEL={model!r} does not name its provider: write it as provider/name, e.g. "
            f"openai/{model}."
        )
    return Endpoint(model, None, _key(model, provider, environ), timeout_s)


def _timeout_s(environ: Mapping[str, str]) -> float:
    text = environ.get("MODEL_TIMEOUT_S") or str(DEFAULT_TIMEOUT_S)
    try:
        timeout_s = float(text)
    except ValueError:
        timeout_s = 0.0
    if not timeout_s > 0:
        raise ModelNotConfigured(f"MODEL_TIMEOUT_S={text!r} is not a number of seconds above zero.")
    return timeout_s


def _key(model: str, provider: str, environ: Mapping[str, str]) -> str | None:
    names = _KEYS.get(provider, ())
    key = next((environ[name] for name in names if environ.get(name)), None)
    if names and key is None:
        raise ModelNotConfigured(
            f"MODEL={model!r} needs a key: set {' or '.join(names)}, or unset MODEL to run on the "
            "offline model."
        )
    return key


# A client holds connections and takes a fifth of a second to make, so runs share one; what they
# used is counted from events, not from its counters.
@lru_cache(maxsize=8)
def _client(endpoint: Endpoint) -> BaseLLM:
    model: BaseLLM = LLM(
        model=endpoint.model,
        base_url=endpoint.base_url,
        api_key=endpoint.api_key,
        timeout=endpoint.timeout_s,
        max_retries=CLIENT_RETRIES,
    )
    return model


def _declared(llm: object, defaults: set[str]) -> bool:
    """Say whether an agent's llm was chosen by its crew: CrewAI gives the others a default one."""
    names = {name.rpartition("/")[2] for name in defaults}
    return isinstance(llm, BaseLLM) and llm.model.rpartition("/")[2] not in names


def _staff(crew: Crew) -> list[BaseAgent]:
    return [*crew.agents, *([crew.manager_agent] if crew.manager_agent else [])]


def _go_offline(crew: Crew) -> None:
    model = OfflineModel()
    crew.function_calling_llm = None
    crew.planning = False
    if crew.manager_llm is not None:
        crew.manager_llm = model
    for agent in _staff(crew):
        agent.llm = model
        if isinstance(agent, Agent):
            agent.function_calling_llm = None
            # A plan is written by a language model; without one the tools' order is the plan.
            agent.planning_config = None
            agent.planning = False
