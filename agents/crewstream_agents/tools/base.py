"""The computing tool: typed arguments in, JSON out, errors that say how to mend them."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Generic, TypeVar

from crewai.tools import BaseTool
from pydantic import BaseModel, ValidationError
from typing_extensions import override

A = TypeVar("A", bound=BaseModel)


class ToolInputError(ValueError):
    """An argument of a tool cannot be used; the message says which, why, and how to mend it."""


class ComputingTool(BaseTool, Generic[A]):
    """A CrewAI tool around a pure computation.

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
