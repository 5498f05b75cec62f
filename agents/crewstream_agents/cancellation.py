"""Stopping a run: a flag that CrewAI meets at its next model or tool boundary."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from crewai.hooks.dispatch import (
    HookAborted,
    InterceptionPoint,
    get_scoped_hooks,
    scoped_hooks,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

BOUNDARIES: Final = (
    InterceptionPoint.PRE_STEP,
    InterceptionPoint.PRE_MODEL_CALL,
    InterceptionPoint.POST_TOOL_CALL,
)
"""Where a stop is raised. Not PRE_TOOL_CALL: CrewAI turns it into a text for the model there."""


class StopFlag:
    """Raised once; from then on every boundary of the run raises.

    A tool swallows what is raised inside of it, so a single exception would not do. `error` is why
    the run stopped by itself, such as a budget; None when it was stopped from outside.
    """

    def __init__(self) -> None:
        self._raised = threading.Event()
        self.error: BaseException | None = None

    @property
    def raised(self) -> bool:
        return self._raised.is_set()

    def stop(self, error: BaseException | None = None) -> None:
        """Stop the run; the first reason stays."""
        if not self.raised:
            self.error = error
        self._raised.set()

    def check(self) -> None:
        """Raise HookAborted, which CrewAI does not answer by trying again, in a stopped run."""
        if self.raised:
            why = "this run was stopped" if self.error is None else str(self.error)
            raise HookAborted(why, source="crewstream") from self.error

    def sleep(self, seconds: float) -> None:
        """Let time pass in this thread. Raises HookAborted, at once when the run is stopped."""
        self._raised.wait(seconds)
        self.check()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """What runs in here meets the flag, in every thread and task that it starts."""
        # A scope replaces the outer one, so what is there already is taken along.
        with scoped_hooks({point: [*get_scoped_hooks(point), self._check] for point in BOUNDARIES}):
            yield

    @staticmethod
    def watches(hook: object) -> bool:
        """Whether a hook is the one of a flag."""
        return getattr(hook, "__func__", None) is StopFlag._check

    def _check(self, _: Any) -> None:
        self.check()
