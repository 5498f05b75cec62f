"""How many runners there should be, and whose: pure decisions, with no clock in them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

NEAR: Final = 0.9
"""Above this part of a threshold nothing is added: what is added now is felt later."""

CALM_LOOKS: Final = 10
"""So many looks in a row find too many runners before one is let go of."""

PRESSED_LOOKS: Final = 3
"""So many find the machine over a threshold before one is: a moment is no pressure."""

SHY_LOOKS: Final = 60
"""For so many looks a number of runners that was too much is not tried again."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What there may be: `least` to `most` runners of `concurrency` runs each.

    `max_cpu` and `max_memory` are parts of what the machine, or our share of it, has.
    """

    least: int
    most: int
    concurrency: int
    max_cpu: float = 0.80
    max_memory: float = 0.75


@dataclass(frozen=True, slots=True)
class Load:
    """What a look finds: runs under way and runs that wait for a slot, and what is used."""

    busy: int
    waiting: int
    cpu: float
    memory: float


@dataclass(frozen=True, slots=True)
class Size:
    """How many runners are wanted, and what the looks so far have found.

    `calm` and `pressed` count looks in a row; below `ceiling` is not too much, for `shy` looks.
    """

    runners: int
    calm: int = 0
    pressed: int = 0
    ceiling: int = 0
    shy: int = 0


def next_size(now: Size, load: Load, bounds: Bounds) -> Size:
    """The size after one more look.

    More runners as soon as runs wait and the machine has room, at most twice as many at once; fewer
    when they were not needed, or too much for the machine, for a while. So it grows fast, shrinks
    slowly, and does not swing around a threshold.
    """
    over = load.cpu > bounds.max_cpu or load.memory > bounds.max_memory
    seen = replace(
        now,
        runners=_within(now.runners, bounds),
        pressed=now.pressed + 1 if over else 0,
        shy=max(0, now.shy - 1),
    )
    if over:
        return _relieved(seen, bounds)
    needed = _within(math.ceil((load.busy + load.waiting) / bounds.concurrency), bounds)
    if needed > seen.runners:
        return _grown(seen, needed, load, bounds)
    if needed < seen.runners:
        return _rested(seen)
    return replace(seen, calm=0)


def _relieved(size: Size, bounds: Bounds) -> Size:
    if size.pressed < PRESSED_LOOKS or size.runners == bounds.least:
        return replace(size, calm=0)
    return Size(size.runners - 1, ceiling=size.runners, shy=SHY_LOOKS)


def _grown(size: Size, needed: int, load: Load, bounds: Bounds) -> Size:
    near = load.cpu > NEAR * bounds.max_cpu or load.memory > NEAR * bounds.max_memory
    most = size.ceiling - 1 if size.shy else needed
    wanted = min(needed, 2 * size.runners, most)
    if near or wanted <= size.runners:
        return replace(size, calm=0)
    return replace(size, runners=wanted, calm=0)


def _rested(size: Size) -> Size:
    if size.calm + 1 < CALM_LOOKS:
        return replace(size, calm=size.calm + 1)
    return replace(size, runners=size.runners - 1, calm=0)


def _within(runners: int, bounds: Bounds) -> int:
    return max(bounds.least, min(bounds.most, runners))


@dataclass(frozen=True, slots=True)
class Family:
    """The runners of one environment: how many, how many of them without a run, runs that wait."""

    runners: int = 0
    idle: int = 0
    waiting: int = 0


def to_add(families: Mapping[str, Family], size: int) -> str | None:
    """The family that gets a runner now; None: no one.

    Whoever has runs that wait has at least one, also beyond `size`, or it would wait for ever.
    """
    without = [name for name, one in families.items() if one.waiting and not one.runners]
    if without:
        return min(without)
    if sum(one.runners for one in families.values()) >= size:
        return None
    return max(families, key=lambda name: (families[name].waiting, name == ""), default="")


def to_spare(families: Mapping[str, Family], size: int) -> str | None:
    """The family that gives up a runner without a run; None: no one.

    One that does not wait: because there are too many, or because another one waits.
    """
    total = sum(one.runners for one in families.values())
    waits = any(one.waiting for one in families.values())
    idle = [name for name, one in families.items() if one.idle and not one.waiting]
    if not idle or total < size or (total == size and not waits):
        return None
    return max(idle, key=lambda name: (families[name].idle, name))
