"""Which route serves a model of a crew: pure matching of names against patterns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from crewstream_agents.policy import OFFLINE, Rate, Route, matches

NO_RATE = Rate()


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a model is wanted. `agent` is a role; `declared` what the crew names, "" for none."""

    project: str
    task_type: str
    purpose: str = "agent"
    agent: str = ""
    declared: str = ""


def route_of(routes: Sequence[Route], seat: Seat) -> Route | None:
    """The first route that fits a seat."""
    return next((route for route in routes if _fits(route, seat)), None)


def rate_of(rates: Mapping[str, Rate], model: str) -> tuple[str, Rate]:
    """The bucket of a model (`provider/name`) and its rate: the first pattern that fits.

    A model that none fits has a bucket of its own without a rate, for its provider's pauses.
    """
    return next(
        ((name, rate) for name, rate in rates.items() if matches(name, model)), (model, NO_RATE)
    )


def overlay(
    routes: Sequence[Route], project: str, task_type: str, roles: Sequence[str]
) -> Mapping[str, str]:
    """A mapping for CrewAI's `llm_overlay`: models that a crew makes from a name while it runs.

    `roles` are those of the crew's own agents, whose models are given to them directly. A model
    with a server or key of its own cannot be told by its name alone, nor can the offline model:
    they are left out.
    """
    told: dict[str, str] = {}
    for route in routes:
        everywhere = matches(route.project, project) and matches(route.task_type, task_type)
        first = route.models[0]
        nameless = first.base_url or first.key_env or first.model == OFFLINE
        if not everywhere or nameless or route.purpose not in {"*", "agent"}:
            continue
        for key in _keys(route, roles):
            told.setdefault(key, first.model)
    return told


def _keys(route: Route, roles: Sequence[str]) -> Iterator[str]:
    """What names a route's models in an overlay; patterns but "*" have no key there."""
    if route.agent != "*":
        known = any(matches(route.agent, role) for role in roles)
        if route.declared == "*" and not known and not set(route.agent) & set("*?["):
            yield route.agent
    elif route.declared == "*" or not set(route.declared) & set("*?["):
        yield f"model:{route.declared}"


def _fits(route: Route, seat: Seat) -> bool:
    return (
        matches(route.project, seat.project)
        and matches(route.task_type, seat.task_type)
        and matches(route.purpose, seat.purpose)
        and matches(route.agent, seat.agent)
        and (route.declared == "*" or matches(route.declared, seat.declared))
    )
