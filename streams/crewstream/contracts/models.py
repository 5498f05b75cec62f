"""models.yaml as values: which model serves what, what stands behind it, and shared rates."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from crewstream.contracts.files import File, Strict

OFFLINE = "offline"

Pattern = Annotated[str, Field(min_length=1)]
Seconds = Annotated[float, Field(gt=0, le=3600)]
Share = Annotated[float, Field(gt=0, le=1000)]
Names = Annotated[
    tuple[str, ...],
    BeforeValidator(lambda given: (given,) if isinstance(given, str) else given),
    Field(min_length=1),
]


class Model(Strict):
    """A model, where it is served, and how it is asked; absent: what its client takes by itself."""

    model: Annotated[str, Field(min_length=1)]
    base_url: Annotated[str, Field(pattern=r"^https?://")] | None = None
    key_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    timeout_s: Seconds | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None


class ModelRoute(Strict):
    """What fits all its patterns is served by the first of `use`; the others stand behind it."""

    use: Names
    project: Pattern = "*"
    agent: Pattern = "*"
    task_type: Pattern = "*"
    purpose: Literal["*", "agent", "manager", "planning", "function_calling", "guardrail"] = "*"
    declared: Pattern = "*"


class ModelRate(Strict):
    """What a provider takes in a minute."""

    requests_per_minute: Annotated[float, Field(gt=0)] | None = None
    tokens_per_minute: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.requests_per_minute is None and self.tokens_per_minute is None:
            raise ValueError("give requests_per_minute, tokens_per_minute, or both")
        return self


class Models(File):
    """All of models.yaml; by default nothing is routed and nothing limited."""

    version: Literal[1] = 1
    models: Mapping[str, Model] = {}
    routes: tuple[ModelRoute, ...] = ()
    rates: Mapping[str, ModelRate] = {}
    weights: Mapping[str, Share] = {}
    timeout_s: Seconds = 120.0
    retries: Annotated[int, Field(ge=0, le=5)] = 1
    patience_s: Annotated[float, Field(ge=0)] = 5.0

    @model_validator(mode="after")
    def _every_name_is_known(self) -> Self:
        faults = [*self._unknown_names(), *self._unreachable()]
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def model(self, name: str) -> Model:
        """A model by its name here, or by that of its provider."""
        return self.models.get(name) or Model(model=name)

    def strangers(self, projects: Iterable[str]) -> Iterator[str]:
        """A sentence for each route and weight of a project that there is not."""
        known = set(projects)
        named = [(f"routes.{i}.project", each.project) for i, each in enumerate(self.routes)]
        named += [(f"weights.{name}", name) for name in self.weights]
        for where, name in named:
            if name not in known and not set(name) & set("*?["):
                yield f"{where}: there is no project {name!r} in topics.yaml{_near(name, known)}"

    def _unknown_names(self) -> Iterator[str]:
        for number, route in enumerate(self.routes):
            for name in route.use:
                if name not in self.models and name != OFFLINE and "/" not in name:
                    yield (
                        f"routes.{number}.use: no model {name!r} under models, and it is no"
                        f" provider/name{_near(name, self.models)}"
                    )

    def _unreachable(self) -> Iterator[str]:
        """Routes behind one that fits everything."""
        for number, route in enumerate(self.routes[:-1]):
            if {route.project, route.agent, route.task_type, route.purpose, route.declared} == {
                "*"
            }:
                yield f"routes.{number} has no conditions, so those behind it never count"
                return


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
