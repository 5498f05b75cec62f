"""Where the journal meets CrewAI: its classes, wrapped once per process, those to come as well."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import crewai

from crewstream_agents.allowance import counted
from crewstream_agents.journal.calls import WRAPS, Method
from crewstream_agents.limits import serving

SUPPORTED_CREWAI: Final = "1.15."
"""The releases that the replay matrix ran against."""

WRAPPED: Final = "_crewstream_journaled"


class SeamMoved(Exception):
    """CrewAI is not as the journal knows it; install a release that is supported."""


def install() -> None:
    """Wrap the classes that there are and, as they are made, those to come. Once per process.

    Raises SeamMoved.
    """
    if not crewai.__version__.startswith(SUPPORTED_CREWAI):
        raise SeamMoved(
            f"crewai {crewai.__version__} is installed; journals need {SUPPORTED_CREWAI}x"
        )
    for base in WRAPS:
        for cls in _family(base):
            _wrap_methods(cls, base)
        _follow_subclasses(base)
    serving.install()
    installed()


def installed() -> Mapping[str, int]:
    """How many methods are wrapped, by base class. Raises SeamMoved, naming one that is not."""
    counts: dict[str, int] = {}
    for base in WRAPS:
        methods = [(cls, *found) for cls in _family(base) for found in _concrete(cls, base)]
        for cls, name, method in methods:
            if not getattr(method, WRAPPED, False):
                raise SeamMoved(f"{cls.__module__}.{cls.__qualname__}.{name} is not journaled")
        if not methods:
            raise SeamMoved(f"crewai's {base.__name__} has none of {', '.join(WRAPS[base])}")
        counts[base.__name__] = len(methods)
    return counts


def _family(base: type[Any]) -> Iterator[type[Any]]:
    """A class and all that are made from it, each once."""
    todo, seen = [base], {base}
    while todo:
        cls = todo.pop()
        yield cls
        new: list[type[Any]] = [one for one in cls.__subclasses__() if one not in seen]
        seen.update(new)
        todo += new


def _concrete(cls: type, base: type) -> Iterator[tuple[str, Method]]:
    for name in WRAPS[base]:
        method = cls.__dict__.get(name)
        if method is not None and not getattr(method, "__isabstractmethod__", False):
            yield name, method


def _wrap_methods(cls: type, base: type) -> None:
    for name, method in _concrete(cls, base):
        if not getattr(method, WRAPPED, False):
            wrapped = counted(base, name, WRAPS[base][name](method))
            setattr(wrapped, WRAPPED, True)
            setattr(cls, name, wrapped)


def _follow_subclasses(base: Any) -> None:
    """Have classes wrapped that are made later: CrewAI loads its providers when they are used."""
    before = base.__dict__.get("__init_subclass__")
    if getattr(before, WRAPPED, False):
        return

    def made(cls: Any, /, **kwargs: Any) -> None:
        if before is None:
            super(base, cls).__init_subclass__(**kwargs)
        else:
            before.__func__(cls, **kwargs)
        _wrap_methods(cls, base)

    hook: Any = classmethod(made)
    setattr(hook, WRAPPED, True)
    base.__init_subclass__ = hook
