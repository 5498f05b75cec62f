"""Which model a run uses: what a route says, what the crew declares, what the environment names."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from crewai import LLM, Agent, BaseLLM, Process
from crewai.constants import DEFAULT_LLM_MODEL
from crewai.llm_overlay import mark_mapped
from crewai.tasks.llm_guardrail import LLMGuardrail

from crewstream_agents.belongings import staff
from crewstream_agents.endpoints import (
    DEFAULT_TIMEOUT_S,
    Endpoint,
    ModelNotConfigured,
    configured,
    resolved,
)
from crewstream_agents.measure import provider_of
from crewstream_agents.offline.model import OFFLINE, OfflineModel
from crewstream_agents.policy import ModelPolicy, ModelSpec, Policy, current
from crewstream_agents.routes import Seat, route_of

if TYPE_CHECKING:
    from crewai import Crew, Task
    from crewai.agents.agent_builder.base_agent import BaseAgent

    from crewstream_agents.spec import CrewTask

__all__ = ["DEFAULT_TIMEOUT_S", "ModelChoice", "ModelNotConfigured", "assign", "configured"]

#: Tries that a client makes again by itself: none, since `limits.serving` decides about all tries.
CLIENT_RETRIES: Final = 0

#: A task's own guardrails as CrewAI makes them of words, with the model of the task's agent.
GUARDRAILS: Final = ("_guardrail", "_guardrails")


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """What a run uses: `model` as it is reported, and whether no language model is behind it."""

    model: str
    offline: bool


def assign(crew: Crew, task: CrewTask, environ: Mapping[str, str]) -> ModelChoice:
    """Give every agent of a crew its model, and say which one does the last task.

    A route of the run's policy counts first, then what the crew declares, then `MODEL` of the
    environment. With none of them that is the offline model for all. Raises ModelNotConfigured
    when a model cannot be called as it is configured.
    """
    policy = (current.get() or Policy()).models
    default = configured(environ)
    if default is None and not policy.routes:
        _go_offline(crew)
        return ModelChoice(OFFLINE, offline=True)
    seats = _Seats(task, policy, environ, default)
    for agent in crew.agents:
        seats.seat(agent, "agent")
    _seat_the_crew(crew, seats)
    for one in crew.tasks:
        _seat_guardrails(one, seats)
    return _told(crew)


def fallbacks(llm: BaseLLM) -> Sequence[BaseLLM]:
    """The models that a route has behind this one."""
    return _behind.get(id(llm), ())


def own_counters(crew: Crew) -> None:
    """Have the models of each agent counted for itself, from zero.

    Otherwise `CrewOutput.token_usage` adds up what agents and earlier runs used that share a model.
    """
    for agent in staff(crew):
        agent.llm = _uncounted(agent.llm)
    if isinstance(crew.manager_llm, BaseLLM):
        crew.manager_llm = _uncounted(crew.manager_llm)


def choice_of(environ: Mapping[str, str]) -> ModelChoice:
    """What a run uses whose models are made as it goes. Raises ModelNotConfigured."""
    default = configured(environ)
    if default is None and not (current.get() or Policy()).models.routes:
        return ModelChoice(OFFLINE, offline=True)
    return ModelChoice(default.model if default else "", offline=False)


def makes(task: CrewTask, environ: Mapping[str, str]) -> Callable[[str], BaseLLM | None]:
    """The model for each one that a flow builds by its name; None: the one of that name.

    As `assign` has it for agents: a route counts first, then the name, then `MODEL`; the offline
    model where there is none of them. What it returns raises ModelNotConfigured.
    """
    policy, default = (current.get() or Policy()).models, configured(environ)
    if default is None and not policy.routes:
        return lambda name: OfflineModel(stands_for=name)
    seats = _Seats(task, policy, environ, default)

    def made(name: str) -> BaseLLM | None:
        found = seats.model("agent", "", name)
        return found if isinstance(found, BaseLLM) else None

    return made


def substitute(environ: Mapping[str, str]) -> Callable[[str], BaseLLM | None]:
    """The model for each one that code builds by its name; None: the one of that name.

    Without `MODEL` that is the offline model for all, which knows the name that it stands for. With
    it, only CrewAI's own default, which nobody chose, gives way. Raises ModelNotConfigured.
    """
    endpoint = configured(environ)
    if endpoint is None:
        return lambda name: OfflineModel(stands_for=name)
    default = DEFAULT_LLM_MODEL.rpartition("/")[2]
    return lambda name: _client((endpoint,)) if name.rpartition("/")[2] == default else None


class _Seats:
    """The models of one run."""

    def __init__(
        self,
        task: CrewTask,
        policy: ModelPolicy,
        environ: Mapping[str, str],
        default: Endpoint | None,
    ) -> None:
        self._task, self._policy = task, policy
        self._environ, self._default = environ, default
        self._unnamed = {
            name.rpartition("/")[2] for name in (DEFAULT_LLM_MODEL, environ.get("MODEL", ""))
        }

    def seat(self, agent: BaseAgent, purpose: str) -> None:
        """Give an agent its models."""
        agent.llm = self.model(purpose, agent.role, agent.llm)
        if not isinstance(agent, Agent):
            return
        if agent.function_calling_llm is not None:
            given = self.model("function_calling", agent.role, agent.function_calling_llm)
            agent.function_calling_llm = given
        if agent.planning_config is not None and agent.planning_config.llm is not None:
            planner = self.model("planning", agent.role, agent.planning_config.llm)
            agent.planning_config = agent.planning_config.model_copy(update={"llm": planner})

    def model(self, purpose: str, role: str, declared: Any) -> Any:
        """What serves: a route's model, the one that is declared, or that of the environment."""
        own = self._declared(declared)
        place = self._task.project_id, self._task.task_type
        route = route_of(self._policy.routes, Seat(*place, purpose, role, own))
        if route is not None:
            timeout_s = self._policy.timeout_s
            return self._client([resolved(m, self._environ, timeout_s) for m in route.models])
        if own:
            stands_in = isinstance(declared, OfflineModel)
            return self._client([self._named(own)]) if stands_in else declared
        if self._default is None:
            raise ModelNotConfigured(
                f"no route of models.yaml fits {purpose} {role.strip()!r} of {'/'.join(place)}, and"
                " MODEL is not set: add a route without conditions, at the end"
            )
        return self._client([self._default])

    def _declared(self, llm: Any) -> str:
        """What a crew has chosen, as `provider/name`: CrewAI gives the others a default one."""
        if isinstance(llm, OfflineModel):
            llm = llm.stands_for
        name = llm if isinstance(llm, str) else str(getattr(llm, "model", "") or "")
        if name.rpartition("/")[2] in self._unnamed:
            return ""
        return name if isinstance(llm, str) else full_name(llm)

    def _named(self, model: str) -> Endpoint:
        """A model that a crew names and that nothing was made of yet: there was no key for it."""
        return resolved(ModelSpec(model), self._environ, self._policy.timeout_s)

    def _client(self, chain: Sequence[Endpoint]) -> BaseLLM:
        try:
            return _client(tuple(chain))
        except (ImportError, ValueError) as error:
            raise ModelNotConfigured(
                f"{' or '.join(one.model for one in chain)} cannot be used for"
                f" {self._task.assignment_id}: {error}"
            ) from error


def full_name(llm: Any) -> str:
    """A model as rates, routes and people name it: `provider/name`."""
    model = str(llm.model)
    provider = provider_of(llm, model)
    return model if not provider or model.startswith(f"{provider}/") else f"{provider}/{model}"


_behind: Final[dict[int, Sequence[BaseLLM]]] = {}
"""By the identity of a client, which `_client` keeps for ever, or of a copy while it lives."""


# A client holds connections and takes a fifth of a second to make, so runs share one; what they
# used is counted from events, not from its counters. There are as many as configured.
@cache
def _client(chain: tuple[Endpoint, ...]) -> BaseLLM:
    first, *others = chain
    llm: BaseLLM = OfflineModel() if first.offline else _made(first)
    _behind[id(llm)] = tuple(_client((other,)) for other in others)
    # The one of a route stays, also where an overlay maps what crews make while they run.
    return mark_mapped(llm)


def _uncounted(llm: Any) -> Any:
    """A copy that counts for itself. It is known as its original is, by what is behind it."""
    if not isinstance(llm, BaseLLM):
        return llm
    own = copy.copy(llm)
    own._token_usage = dict.fromkeys(llm._token_usage, 0)  # noqa: SLF001 - guarded by a test
    if id(llm) in _behind:
        _behind[id(own)] = _behind[id(llm)]
        weakref.finalize(own, _behind.pop, id(own))
        mark_mapped(own)
    return own


def _made(endpoint: Endpoint) -> BaseLLM:
    known: dict[str, Any] = {"max_tokens": endpoint.max_tokens, "temperature": endpoint.temperature}
    model: BaseLLM = LLM(
        model=endpoint.model,
        base_url=endpoint.base_url,
        api_key=endpoint.api_key,
        timeout=endpoint.timeout_s,
        max_retries=CLIENT_RETRIES,
        **{name: value for name, value in known.items() if value is not None},
    )
    return model


def _seat_the_crew(crew: Crew, seats: _Seats) -> None:
    """The models that are a crew's and no agent's."""
    if crew.manager_agent is not None:
        seats.seat(crew.manager_agent, "manager")
    elif crew.process is Process.hierarchical:
        crew.manager_llm = seats.model("manager", "", crew.manager_llm)
    if crew.planning:
        crew.planning_llm = seats.model("planning", "", crew.planning_llm)
    if crew.function_calling_llm is not None:
        given = seats.model("function_calling", "", crew.function_calling_llm)
        crew.function_calling_llm = given


def _seat_guardrails(task: Task, seats: _Seats) -> None:
    """Guardrails in words have kept the model that their agent had when the task was made."""
    if not _worded(task):
        return
    role = task.agent.role if task.agent else ""
    single, several = (getattr(task, name) for name in GUARDRAILS)
    for one in (single, *several):
        if isinstance(one, LLMGuardrail):
            one.llm = seats.model("guardrail", role, one.llm)


def _worded(task: Task) -> bool:
    """Whether a task has a guardrail in words, which a model judges by."""
    many = task.guardrails if isinstance(task.guardrails, list | tuple) else [task.guardrails]
    return any(isinstance(one, str) for one in (task.guardrail, *many))


def _told(crew: Crew) -> ModelChoice:
    """The model of whoever brings the last task's result; offline, when nobody has another."""
    doing = (crew.tasks[-1].agent if crew.tasks else None) or crew.manager_agent
    used: Any = crew.manager_llm if doing is None else doing.llm
    offline = all(isinstance(one, OfflineModel) for one in (used, *(a.llm for a in crew.agents)))
    return ModelChoice(used if isinstance(used, str) else full_name(used), offline=offline)


def _go_offline(crew: Crew) -> None:
    model = OfflineModel()
    crew.function_calling_llm = None
    crew.planning = False
    if crew.manager_llm is not None:
        crew.manager_llm = model
    for agent in staff(crew):
        agent.llm = model
        if isinstance(agent, Agent):
            agent.function_calling_llm = None
            # A plan is written by a language model; without one the tools' order is the plan.
            agent.planning_config = None
            agent.planning = False
    for task in crew.tasks:
        if _worded(task):  # nobody is there who could judge by it
            single, several = GUARDRAILS
            setattr(task, single, None)
            setattr(task, several, [])
