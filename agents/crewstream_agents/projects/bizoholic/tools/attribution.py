"""Divides conversions among channels by what would be lost without each of them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

START, CONVERSION, LOST = "(start)", "(conversion)", "(lost)"


@dataclass(frozen=True, slots=True)
class Path:
    """A path of channels, how often it was taken, and how often it converted."""

    channels: tuple[str, ...]
    journeys: int
    conversions: int


def last_touch(paths: Iterable[Path]) -> dict[str, float]:
    """Return conversions by the last channel of their path."""
    credit: Counter[str] = Counter()
    for path in paths:
        credit[path.channels[-1]] += path.conversions
    return {channel: float(count) for channel, count in sorted(credit.items())}


def removal_effect(paths: Sequence[Path]) -> dict[str, float]:
    """Return conversions by channel, in proportion to what its removal would lose.

    A first-order Markov chain over the channels; the credits add up to all conversions. Source:
    Anderl, Becker, von Wangenheim, Schumann, Mapping the Customer Journey, Int. J. of Research in
    Marketing 33 (2016), 457-474.
    """
    chain = _chain(paths)
    whole = _conversion_probability(chain, without=None)
    channels = sorted({channel for path in paths for channel in path.channels})
    lost = {name: 1 - _conversion_probability(chain, without=name) / whole for name in channels}
    conversions, together = sum(path.conversions for path in paths), sum(lost.values())
    return {name: conversions * part / together for name, part in lost.items()}


def _chain(paths: Sequence[Path]) -> dict[str, dict[str, float]]:
    """Return the probabilities of going from one state to the next."""
    counts: dict[str, Counter[str]] = {}
    for path in paths:
        steps = (START, *path.channels)
        for here, there in itertools.pairwise(steps):
            counts.setdefault(here, Counter())[there] += path.journeys
        ends = counts.setdefault(path.channels[-1], Counter())
        ends[CONVERSION] += path.conversions
        ends[LOST] += path.journeys - path.conversions
    return {
        state: {there: count / after.total() for there, count in after.items()}
        for state, after in counts.items()
    }


def _conversion_probability(chain: Mapping[str, Mapping[str, float]], without: str | None) -> float:
    """Return the probability of ending in a conversion; who meets `without` is lost."""
    reach = dict.fromkeys(chain, 0.0)
    # Every step loses some probability to an end state, so this converges geometrically.
    for _ in range(200):
        reach = {
            state: 0.0
            if state == without
            else sum(
                share * (1.0 if there == CONVERSION else reach.get(there, 0.0))
                for there, share in after.items()
            )
            for state, after in chain.items()
        }
    return reach[START]
