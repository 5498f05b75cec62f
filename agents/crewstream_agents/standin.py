"""Which model stands in for one that code builds by a name, where a run has none of that name."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, Final

from crewai import LLM, BaseLLM

Choose = Callable[[str], BaseLLM | None]
"""The model to use for a name; None: the one of that name."""

INSTALLED: Final = "_crewstream_standin"

_choose: ContextVar[Choose | None] = ContextVar("crewstream_standin", default=None)


@contextlib.contextmanager
def standing_in(choose: Choose) -> Iterator[None]:
    """`LLM(model=...)` in here, however deep in others' code, is what `choose` says.

    CrewAI makes every model that is given by its name through `LLM`, agents' default ones too.
    """
    install()
    token = _choose.set(choose)
    try:
        yield
    finally:
        _choose.reset(token)


def install() -> None:
    """Have CrewAI's maker of models ask; once per process, and without effect outside of a run."""
    make = LLM.__new__
    if getattr(make, INSTALLED, False):
        return

    def new(cls: type[Any], model: str = "", *args: Any, **options: Any) -> Any:
        choose = _choose.get()
        if choose is None or cls is not LLM:
            return make(cls, model, *args, **options)
        token = _choose.set(None)  # who chooses may make the model that it chooses
        try:
            found = choose(model)
        finally:
            _choose.reset(token)
        return make(cls, model, *args, **options) if found is None else found

    setattr(new, INSTALLED, True)
    setattr(LLM, "__new__", staticmethod(new))  # noqa: B010 - mypy minds a plain assignment
