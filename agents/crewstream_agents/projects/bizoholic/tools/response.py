"""Diminishing returns of marketing spend, and the budget split that gets the most out of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ResponseCurve:
    """Conversions by spend: `capacity * (1 - exp(-spend / scale))`; spend in USD.

    The modified exponential response of Lilien, Kotler, Moorthy, Marketing Models (1992), 4.2.
    """

    capacity: float
    scale: float
    minimum: float

    def conversions(self, spend: float) -> float:
        """Return the conversions expected of a spend."""
        return self.capacity * (1 - math.exp(-spend / self.scale))

    def marginal(self, spend: float) -> float:
        """Return the conversions expected of the next USD."""
        return self.capacity / self.scale * math.exp(-spend / self.scale)

    def log_marginal(self, spend: float) -> float:
        """Return the logarithm of `marginal`, which does not underflow on large budgets."""
        return math.log(self.capacity / self.scale) - spend / self.scale

    def spend_at(self, log_marginal: float) -> float:
        """Return the spend at which the next USD brings that much, not below the minimum."""
        return max(self.minimum, self.scale * (self.log_marginal(0) - log_marginal))


def equalise(curves: Mapping[str, ResponseCurve], budget: float) -> dict[str, float]:
    """Split a budget so that the next USD brings the same in every channel above its minimum.

    A channel that is not worth its minimum is left out. The condition of optimality of a concave
    separable problem ("water-filling": Boyd, Vandenberghe, Convex Optimization (2004), 5.5.3).
    Raises ValueError when the budget does not reach the smallest minimum.
    """
    running = dict(curves)
    while running:
        if sum(curve.minimum for curve in running.values()) > budget:
            running.pop(_weakest(running))
            continue
        level = _level(running, budget)
        wasteful = {name: curve for name, curve in running.items() if _wastes(curve, level)}
        if not wasteful or len(running) == 1:
            return {name: curve.spend_at(level) for name, curve in running.items()}
        running.pop(_weakest(wasteful))
    raise ValueError("The budget does not reach the minimum spend of any channel.")


def break_even(curves: Mapping[str, ResponseCurve], conversion_value: float) -> float:
    """Return the budget in USD beyond which the next USD brings less than a USD of revenue."""
    return sum(
        max(0.0, curve.scale * math.log(curve.capacity * conversion_value / curve.scale))
        for curve in curves.values()
    )


def _wastes(curve: ResponseCurve, level: float) -> bool:
    """Say whether the money of a channel held at its minimum would bring more elsewhere."""
    held = curve.log_marginal(curve.minimum) < level
    return held and curve.conversions(curve.minimum) < math.exp(level) * curve.minimum


def _weakest(curves: Mapping[str, ResponseCurve]) -> str:
    return min(curves, key=lambda name: curves[name].log_marginal(curves[name].minimum))


def _level(curves: Mapping[str, ResponseCurve], budget: float) -> float:
    """Return the common (log) marginal return at which the curves use up the budget."""
    low = min(curve.log_marginal(budget) for curve in curves.values())
    high = max(curve.log_marginal(0) for curve in curves.values())
    for _ in range(100):
        middle = (low + high) / 2
        spent = sum(curve.spend_at(middle) for curve in curves.values())
        low, high = (middle, high) if spent > budget else (low, middle)
    return high
