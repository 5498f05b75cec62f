"""Tests and intervals for proportions, from the normal approximation; standard library only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class ZTest:
    """A two-sided z-test: the statistic and its p-value."""

    z: float
    p_value: float


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the score interval of a proportion, within [0, 1].

    Source: E. B. Wilson, Probable Inference, JASA 22 (1927), 209-212.
    """
    if trials == 0:
        return 0.0, 1.0
    z = NORMAL.inv_cdf((1 + confidence) / 2)
    rate, zz = successes / trials, z * z
    centre = (rate + zz / (2 * trials)) / (1 + zz / trials)
    margin = (
        z / (1 + zz / trials) * math.sqrt(rate * (1 - rate) / trials + zz / (4 * trials * trials))
    )
    return max(0.0, centre - margin), min(1.0, centre + margin)


def two_proportion_z_test(
    successes: int, trials: int, other_successes: int, other_trials: int
) -> ZTest:
    """Test whether two proportions are equal, with the pooled standard error.

    Source: Fleiss, Levin, Paik, Statistical Methods for Rates and Proportions (2003), 3.1.
    """
    if trials == 0 or other_trials == 0:
        return ZTest(0.0, 1.0)
    pooled = (successes + other_successes) / (trials + other_trials)
    spread = math.sqrt(pooled * (1 - pooled) * (1 / trials + 1 / other_trials))
    if spread == 0:
        return ZTest(0.0, 1.0)
    z = (successes / trials - other_successes / other_trials) / spread
    return ZTest(z, 2 * NORMAL.cdf(-abs(z)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for testing all of them at once, in the order given.

    Source: S. Holm, A Simple Sequentially Rejective Multiple Test Procedure (1979).
    """
    count, adjusted, floor = len(p_values), [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(count), key=p_values.__getitem__)):
        floor = max(floor, min(1.0, (count - rank) * p_values[index]))
        adjusted[index] = floor
    return adjusted


def sample_size(
    baseline: float, relative_lift: float, alpha: float = 0.05, power: float = 0.8
) -> int:
    """Return the trials that each of two variants needs to show `relative_lift` over `baseline`.

    Two-sided test, equal groups. Source: Fleiss, Levin, Paik (2003), 4.2 (no continuity
    correction).
    """
    other = baseline * (1 + relative_lift)
    middle = (baseline + other) / 2
    root = NORMAL.inv_cdf(1 - alpha / 2) * math.sqrt(2 * middle * (1 - middle))
    root += NORMAL.inv_cdf(power) * math.sqrt(baseline * (1 - baseline) + other * (1 - other))
    return math.ceil((root / (other - baseline)) ** 2)


def minimum_detectable_lift(
    baseline: float, trials: int, alpha: float = 0.05, power: float = 0.8
) -> float:
    """Return the smallest relative lift that `trials` a variant can show, by bisection.

    The upper end is the lift that would make every trial a success: nothing beyond it exists.
    """
    low, high = 1e-6, (1 - baseline) / baseline
    if sample_size(baseline, high, alpha, power) > trials:
        return high
    for _ in range(60):
        middle = (low + high) / 2
        needed = sample_size(baseline, middle, alpha, power)
        low, high = (low, middle) if needed <= trials else (middle, high)
    return high
