"""Which faults there are, and when each is injected: a function of the seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

SPACING_S = 3.0
"""On average between two faults, so that what one breaks can be seen to heal."""
FIRST_S = 2.0


class Kind(StrEnum):
    """A kind of fault: who gets a SIGKILL, unless it says otherwise."""

    WORKER = "worker"
    RUNNER = "runner"
    """One of a worker's runner processes."""
    STOP = "stop"
    """SIGTERM of a worker."""
    COORDINATOR = "coordinator"
    BROKER = "broker"
    REDIS = "redis"
    RECORDER = "recorder"
    """And with it the ClickHouse that it embeds."""
    FREEZE = "freeze"
    """SIGSTOP of a worker or coordinator beyond its session, then SIGCONT."""
    NETWORK = "network"
    """Connections to a broker or to Valkey, silent or reset for some seconds."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault to inject `at_s` after the load began.

    `target` and `manner`, both in [0, 1), choose among what can be struck and how.
    """

    at_s: float
    kind: Kind
    target: float
    manner: float


def faults(seed: int, count: int, kinds: Sequence[Kind]) -> Sequence[Planned]:
    """So many faults, in order of time: each kind as often as any other, give or take one."""
    chance = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    dealt = [kinds[number % len(kinds)] for number in range(count)]
    chance.shuffle(dealt)
    return [
        Planned(
            at_s=FIRST_S + SPACING_S * (number + chance.uniform(0.0, 0.9)),
            kind=kind,
            target=chance.random(),
            manner=chance.random(),
        )
        for number, kind in enumerate(dealt)
    ]


def lasts_s(count: int) -> float:
    """Seconds that the load has to flow, so that it is there when the last fault comes."""
    return FIRST_S + SPACING_S * (count + 1)
