"""What tools of our own are made of: terms that they say of themselves; the computing tool."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Generic, TypeVar

from crewai.tools import BaseTool
from pydantic import BaseModel, ValidationError
from typing_extensions import override

A = TypeVar("A", bound=BaseModel)


class ToolInputError(ValueError):
    """An argument of a tool cannot be used; the message says which, why, and how to mend it."""


class MeasuredTool(BaseTool):
    """A CrewAI tool that says what holds for its calls; every one of them is measured anyway.

    `cacheable`: its result depends on its arguments alone, so it may answer later calls of the same
    tenant and project, for `cache_ttl_s` seconds (an hour). `timeout_s`: a call that takes longer
    is left alone, and the model told. `calls_per_minute`: over all runners; a call waits its turn.
    `external`: it changes something outside, so it is never repeated unknowingly, and never
    answered from the cache; give it a `reconcile(key)`. limits.yaml wins over all but the last.
    """

    cacheable: bool = False
    cache_ttl_s: float | None = None
    timeout_s: float | None = None
    calls_per_minute: float | None = None
    external: bool = False


class ComputingTool(MeasuredTool, Generic[A]):
    """A tool around a pure computation: typed arguments in, JSON out, errors that say how to mend.

    A subclass sets `name`, `description` and `args_schema`, and implements `compute`. The agent
    gets the result as JSON text.
    """

    @abstractmethod
    def compute(self, asked: A) -> BaseModel:
        """Return the result for validated arguments; raise ToolInputError on unusable ones."""

    @override
    def run(self, *args: Any, **kwargs: Any) -> Any:
        # CrewAI would validate as well, but its message holds the whole schema.
        if not args:
            self._validated(kwargs)
        return super().run(*args, **kwargs)

    @override
    def _run(self, **arguments: object) -> str:
        return self.compute(self._validated(arguments)).model_dump_json()

    def _validated(self, arguments: dict[str, object]) -> A:
        try:
            asked: A = self.args_schema.model_validate(arguments)  # type: ignore[assignment]
        except ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(map(str, fault['loc']))}: {fault['msg']} (got {fault['input']!r:.80})"
                for fault in error.errors()
            )
            raise ToolInputError(f"{self.name}: {faults}. Correct these arguments.") from error
        return asked
