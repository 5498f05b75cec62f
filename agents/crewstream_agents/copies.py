"""Copies of a crew that cost a sixth of CrewAI's: its own copy, made once, is copied as it lies.

`Crew.copy` dumps every agent and task and validates it anew, prompts read from disk included. What
it gives to each copy and what all copies share is found by comparing two of its copies; a crew that
has a part which these rules do not know goes on being copied by CrewAI.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from functools import partial
from threading import Lock
from typing import Any, Final
from uuid import UUID, uuid4
from weakref import WeakKeyDictionary

import crewai
from crewai import BaseLLM, Crew, Task
from crewai.agents.agent_builder.base_agent import BaseAgent
from crewai.security.fingerprint import Fingerprint
from crewai.utilities.i18n import I18N
from crewai.utilities.logger import Logger
from crewai.utilities.rw_lock import RWLock
from crewai.utilities.task_output_storage_handler import TaskOutputStorageHandler
from pydantic import BaseModel

from crewstream_agents.belongings import staff
from crewstream_agents.executor import SUPPORTED_CREWAI

logger = logging.getLogger(__name__)

UNCHANGING: Final = (I18N, Logger)
"""Each copy has one of its own, and nobody writes to it."""

MADE_ANEW: Final = (RWLock, type(Lock()), TaskOutputStorageHandler)
"""What belongs to one copy and starts empty."""

SOURCES: Final = ("apps", "mcps")
CALLING: Final = "function_calling_llm"

PLAIN: Final = (str, int, float, bytes, datetime, Enum, UUID)
"""What two copies have to have the same of."""

UNCOPIED: Final = frozenset({str, int, float, bool, bytes, datetime, type(None)})
SEVERAL: Final = frozenset({list, tuple, set})

MODEL_PARTS: Final = (
    "__dict__",
    "__pydantic_fields_set__",
    "__pydantic_extra__",
    "__pydantic_private__",
)
"""All that an instance of pydantic's consists of, as its own `__deepcopy__` has it."""


class UnknownPart(Exception):
    """Two copies of a crew differ in something that these rules do not know."""


@dataclass(slots=True)
class Parts:
    """What a copy shares with all others, and what it has for itself, by the id of its pattern."""

    shared: dict[int, object] = field(default_factory=dict)
    own: dict[int, Callable[[], object]] = field(default_factory=dict)
    paths: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Mould:
    """A crew that is never run, and what of it each copy shares or has of its own."""

    crew: Crew
    shared: Mapping[int, object]
    own: Mapping[int, Callable[[], object]]

    def cast(self) -> Crew:
        """A copy."""
        made = {**self.shared, **{at: make() for at, make in self.own.items()}}
        cast: Crew = _cast(self.crew, made)
        return cast


_moulds: WeakKeyDictionary[Crew, Mould | None] = WeakKeyDictionary()


def copied(crew: Crew) -> Crew:
    """A crew of one's own, as `crew.copy()` makes it. The crew must not change from then on."""
    if crew not in _moulds:
        _moulds[crew] = mould(crew)
    made = _moulds[crew]
    return _whole(crew) if made is None else made.cast()


def mould(crew: Crew) -> Mould | None:
    """The mould of a crew; None when only CrewAI can copy it."""
    if not crewai.__version__.startswith(SUPPORTED_CREWAI):
        return None
    pattern = _whole(crew)
    try:
        parts = _compared(pattern, _whole(crew))
        made = Mould(pattern, parts.shared, parts.own)
        again = _compared(pattern, made.cast())
    except (UnknownPart, RecursionError) as error:
        logger.info("crew %s is copied by CrewAI itself: %s", crew.name, error)
        return None
    return made if again.paths == parts.paths else None


def _whole(crew: Crew) -> Crew:
    """What `crew.copy()` returns, with what it leaves out: where agents' tools come from.

    And with the model that a crew has for tool calls, at which it fails.
    """
    calling = crew.function_calling_llm
    # The original stays as it is: others may be copying it.
    made = (crew.model_copy(update={CALLING: None}) if calling else crew).copy()
    if calling:
        made.function_calling_llm = calling
    for agent, own in zip(staff(crew), staff(made), strict=True):
        for source in SOURCES:
            if given := getattr(agent, source):
                setattr(own, source, given)
    return made


def _cast(thing: Any, made: dict[int, object]) -> Any:
    """A copy of a thing and all in it. `made`: what there is of it already, by pattern.

    What `deepcopy` does, for the few kinds of things that a mould consists of.
    """
    kind: Any = type(thing)
    if kind in UNCOPIED:
        return thing
    if id(thing) in made:
        return made[id(thing)]
    if kind is dict:
        new: Any = {key: _cast(one, made) for key, one in thing.items()}
    elif kind in SEVERAL:
        new = kind([_cast(one, made) for one in thing])
    elif isinstance(thing, BaseModel):
        new = kind.__new__(kind)
        for name in MODEL_PARTS:
            object.__setattr__(new, name, _cast(getattr(thing, name), made))
    else:
        return thing
    made[id(thing)] = new
    return new


def _compared(one: Crew, other: Crew) -> Parts:
    parts = Parts()
    _compare(one, other, "crew", parts)
    return parts


def _compare(one: Any, other: Any, path: str, parts: Parts) -> None:
    """Sort one thing of a copy, and all in it, by what another copy has in its place."""
    if id(one) in parts.shared or id(one) in parts.own:
        return
    kind = type(one)
    if kind is not type(other):
        raise UnknownPart(f"{path} is {kind.__name__} here and {type(other).__name__} there")
    if one is other or isinstance(one, UNCHANGING):
        parts.shared[id(one)] = one
    elif (make := _maker(one)) is not None:
        parts.own[id(one)] = make
        parts.paths.append(path)
    elif isinstance(one, PLAIN):
        if one != other:
            raise UnknownPart(f"{path} differs")
    else:
        _compare_inside(one, other, path, parts)


def _maker(part: Any) -> Callable[[], object] | None:
    """How a part is made that no two copies share."""
    if isinstance(part, BaseLLM):
        return partial(copy, part)
    if isinstance(part, Fingerprint):
        return lambda: Fingerprint(metadata=deepcopy(part.metadata))
    return type(part) if isinstance(part, MADE_ANEW) else None


def _compare_inside(one: Any, other: Any, path: str, parts: Parts) -> None:
    if type(one) not in {dict, *SEVERAL} and not isinstance(one, BaseModel):
        raise UnknownPart(f"{path} is a {type(one).__name__}")
    parts.paths.append(path)
    if isinstance(one, BaseModel):
        _compare_models(one, other, path, parts)
    elif type(one) is set:
        if one or other:
            raise UnknownPart(f"{path} is a set with members")
    else:
        _compare_all(_members(one), _members(other), path, parts)


def _compare_models(one: BaseModel, other: BaseModel, path: str, parts: Parts) -> None:
    known = isinstance(one, Crew | BaseAgent | Task) or type(one).__module__.startswith("crewai.")
    if not known or one.model_fields_set != other.model_fields_set:
        raise UnknownPart(f"{path} is a {type(one).__qualname__}")
    fields, others = dict(vars(one)), vars(other)
    if isinstance(number := fields.get("id"), UUID) and number != others["id"]:
        parts.own[id(fields.pop("id"))] = uuid4
    _compare_all(fields, {name: others[name] for name in fields}, path, parts)
    _compare_all(one.__pydantic_extra__ or {}, other.__pydantic_extra__ or {}, path, parts)
    _compare_all(one.__pydantic_private__ or {}, other.__pydantic_private__ or {}, path, parts)


def _members(several: Sequence[Any] | Mapping[Any, Any]) -> Mapping[Any, Any]:
    return several if isinstance(several, Mapping) else dict(enumerate(several))


def _compare_all(
    ones: Mapping[Any, Any], others: Mapping[Any, Any], path: str, parts: Parts
) -> None:
    if ones.keys() != others.keys():
        raise UnknownPart(f"{path} has other parts")
    for name, one in ones.items():
        _compare(one, others[name], f"{path}.{name}", parts)
