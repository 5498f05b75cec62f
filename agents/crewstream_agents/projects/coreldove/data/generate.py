"""Makes CoreLDove's data sets: the same bytes on every run.

    python -m crewstream_agents.projects.coreldove.data.generate

The figures are invented; their order of magnitude is that of a mid-sized online shop.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from random import Random

from crewstream_agents.tools.dataset import to_csv

SEED = 20260102
YEARS = (2024, 2025)
STEPS = ("sessions", "product_views", "carts", "checkouts", "payments", "orders")

# Sessions a month, and the share that goes on at each of the five steps after them.
DEVICES = {
    "desktop": (21000, (0.62, 0.200, 0.62, 0.86, 0.93)),
    "mobile": (46000, (0.56, 0.150, 0.48, 0.74, 0.88)),
    "tablet": (5200, (0.60, 0.180, 0.57, 0.82, 0.92)),
}
# Part of the sessions, effect on each step's rate, order value in USD.
SEGMENTS = {
    "new": (0.66, (0.96, 0.82, 0.92, 0.95, 0.99), 58),
    "returning": (0.34, (1.06, 1.30, 1.12, 1.06, 1.01), 71),
}
SEASON = (0.92, 0.88, 0.95, 0.97, 1.00, 0.95, 0.90, 0.92, 1.00, 1.08, 1.42, 1.38)
# Mobile payments got worse when the payment page changed in the autumn of 2025.
BROKEN_SINCE, BROKEN_BY = 21, 0.91
# What moves a step, and the weeks of work that it takes.
LEVERS = (
    ("product_views", "faster landing pages and search that tolerates typos", 4),
    ("carts", "delivery date, returns and stock shown beside the price", 3),
    ("checkouts", "guest checkout and the shipping cost shown in the cart", 2),
    ("payments", "one-page address form and wallets (Apple Pay, Google Pay)", 3),
    ("orders", "a second payment provider behind the first", 5),
)


def build() -> dict[str, str]:
    """Return the text of each file by its name."""
    return {
        "funnel.csv": to_csv(
            ("month", "device", "segment", *STEPS, "revenue_usd"),
            _funnel(Random(SEED)),  # noqa: S311  (made to be repeatable)
        ),
        "levers.csv": to_csv(("step", "lever", "effort_weeks"), LEVERS),
    }


def _funnel(random: Random) -> Iterator[tuple[object, ...]]:
    months = enumerate(itertools.product(YEARS, range(1, 13)))
    for (age, (year, month)), (device, base), (segment, shape) in itertools.product(
        months, DEVICES.items(), SEGMENTS.items()
    ):
        (sessions, rates), (part, effects, value) = base, shape
        growth = math.exp((0.14 if device == "mobile" else 0.02) * age / 12)
        counts = [round(sessions * part * growth * SEASON[age % 12] * random.uniform(0.97, 1.03))]
        for step, (rate, effect) in enumerate(zip(rates, effects, strict=True)):
            broken = device == "mobile" and age >= BROKEN_SINCE and STEPS[step + 1] == "payments"
            share = rate * effect * (BROKEN_BY if broken else 1) * random.uniform(0.985, 1.015)
            counts.append(round(counts[-1] * min(share, 0.99)))
        revenue = counts[-1] * value * random.uniform(0.97, 1.03)
        yield (f"{year}-{month:02d}", device, segment, *counts, f"{revenue:.2f}")


def main() -> None:
    """Write the files beside this one."""
    for name, text in build().items():
        (Path(__file__).parent / name).write_text(text, encoding="utf-8", newline="")


if __name__ == "__main__":
    main()
