"""Money as exact decimals: rounding to cents and splitting without losing one."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal
from typing import Annotated

from pydantic import PlainSerializer, WithJsonSchema

CENT = Decimal("0.01")

# A plain JSON number: the pattern of pydantic's own schema for decimals has a lookahead, which
# model providers' structured output refuses.
Money = Annotated[
    Decimal,
    PlainSerializer(float, return_type=float, when_used="json"),
    WithJsonSchema({"type": "number"}),
]


def cents(amount: float | Decimal) -> Decimal:
    """Return an amount rounded to cents, half to even."""
    return Decimal(str(amount)).quantize(CENT, ROUND_HALF_EVEN)


def split(total: Decimal, weights: Sequence[float], unit: Decimal = CENT) -> list[Decimal]:
    """Split `total` by `weights` into whole `unit`s that add up to exactly `total`.

    The largest remainder method (Hamilton's apportionment); a tie goes to the earlier part.
    Raises ValueError when there is no positive weight to split by.
    """
    whole = sum(Decimal(str(weight)) for weight in weights)
    if not whole > 0:
        raise ValueError(f"Cannot split {total} by {list(weights)}: no weight is above zero.")
    exact = [total * Decimal(str(weight)) / whole for weight in weights]
    parts = [(part / unit).quantize(Decimal(1), ROUND_DOWN) * unit for part in exact]
    short = int((total - sum(parts, Decimal(0))) / unit)
    by_remainder = sorted(range(len(parts)), key=lambda i: parts[i] - exact[i])
    for index in by_remainder[:short]:
        parts[index] += unit
    return parts
