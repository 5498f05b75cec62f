"""Which of several agents does a task: scores from their records, and the choice. Pure.

A score is an agent's expected worth at a kind of task, 0 to 1, and what `docs/agents.md` explains:

* Worth: success, half of it plain, the rest by how well it was done (`WEIGHTS`).
* Prior: a record is shrunk towards `PRIOR_MEAN` as if it had `PRIOR_RUNS` attempts more. That is
  the mean of a beta distribution after so many successes and failures (Gelman et al., Bayesian Data
  Analysis, 3rd ed., 2.4); worth between 0 and 1 counts as a fraction of a success (Agrawal and
  Goyal, Analysis of Thompson Sampling, COLT 2012).
* Choice: the highest score; in a share of the assignments one of the others, drawn by how likely it
  is to be the best of them (Thompson 1933). Both by hashes of the assignment's id, so that the same
  assignment and scores always give the same agent.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Final

from crewstream_agents.spec import Candidate, Selection

PRIOR_MEAN: Final = 0.7
"""What an agent is thought to be worth of whom nothing is known."""

PRIOR_RUNS: Final = 5.0
"""How many attempts that opinion weighs."""

EXPLORE: Final = 0.1
"""The share of assignments that go to another agent than the best one, to learn about it."""

WEIGHTS: Final[Mapping[str, float]] = {
    "success": 0.5,
    "first_try": 0.15,
    "quality": 0.2,
    "speed": 0.075,
    "thrift": 0.075,
}
"""What each part of the worth counts; together 1."""

_Z95: Final = 1.96


@dataclass(frozen=True, slots=True)
class AgentRecord:
    """What an agent did at one kind of task; what failed by no fault of it is not among `runs`.

    `first_tries` are the first attempts at a task, `first_succeeded` those that needed no second.
    `quality` (0 to 1), `duration_ms` and `cost_usd` are means over the successful ones.
    """

    agent: str
    runs: int = 0
    succeeded: int = 0
    first_tries: int = 0
    first_succeeded: int = 0
    quality: float = 1.0
    duration_ms: float = 0.0
    cost_usd: float = 0.0

    @property
    def success(self) -> float:
        """The share of attempts that succeeded."""
        return self.succeeded / self.runs if self.runs else 0.0

    @property
    def first_try(self) -> float:
        """The share of tasks that succeeded at once; that of all attempts when none was a first."""
        return self.first_succeeded / self.first_tries if self.first_tries else self.success


def worth(record: AgentRecord, peers: Iterable[AgentRecord]) -> float:
    """What an attempt of the agent was worth on average, 0 to 1, beside that of its `peers`.

    As fast or as cheap as the median of them is half of what speed or thrift can give.
    """
    known = [each for each in peers if each.succeeded]
    parts = {
        "success": record.success,
        "first_try": record.first_try,
        "quality": record.success * record.quality,
        "speed": record.success * _beside(record.duration_ms, [p.duration_ms for p in known]),
        "thrift": record.success * _beside(record.cost_usd, [p.cost_usd for p in known]),
    }
    return min(1.0, sum(WEIGHTS[name] * part for name, part in parts.items()))


def standing(record: AgentRecord, peers: Iterable[AgentRecord]) -> Candidate:
    """The agent as a candidate: its score, and half the width of the score's 95 % interval."""
    strength = PRIOR_RUNS + record.runs
    score = (PRIOR_MEAN * PRIOR_RUNS + worth(record, peers) * record.runs) / strength
    spread = math.sqrt(score * (1 - score) / (strength + 1))
    return Candidate(record.agent, score, record.runs, min(1.0, _Z95 * spread))


def unknown(agent: str) -> Candidate:
    """An agent without a record: the prior."""
    return standing(AgentRecord(agent), ())


@dataclass(frozen=True, slots=True)
class Order:
    """Candidates as they are asked, the first one first; `explored`: it is not the best one."""

    candidates: Sequence[Candidate]
    explored: bool = False


def ordered(candidates: Sequence[Candidate], assignment_id: str, explore: float) -> Order:
    """Who is asked in which order. Equal scores stand as they are declared.

    `explore` is the share of assignments, 0 to 1, whose first one is not the best.
    """
    by_score = sorted(candidates, key=lambda each: -each.score)
    if len(by_score) < 2 or _draw(assignment_id).random() >= explore:  # noqa: PLR2004  (a choice)
        return Order(by_score)
    tried = max(by_score[1:], key=lambda each: _sample(each, assignment_id))
    return Order([tried, *(each for each in by_score if each is not tried)], explored=True)


def selection(
    task_type: str, order: Order, taken: int = 0, busy: Collection[str] = ()
) -> Selection:
    """The choice of the candidate at `taken` of an order, explained; `busy` could not be chosen."""
    chosen = order.candidates[taken]
    told = [replace(each, busy=each.agent in busy) for each in order.candidates]
    best_first = sorted(told, key=lambda each: -each.score)
    explored = order.explored and taken == 0
    reason = _reason(chosen, best_first, explored=explored)
    return Selection(task_type, chosen.agent, reason, explored, best_first)


def _reason(chosen: Candidate, candidates: Sequence[Candidate], *, explored: bool) -> str:
    others = "; ".join(_told(each) for each in candidates if each.agent != chosen.agent)
    beside = f"; beside {others}" if others else ""
    if explored:
        return f"tried to learn about it: {_told(chosen)}{beside}"
    if not any(each.runs for each in candidates):
        return f"none has a record yet: the first one that is declared and free{beside}"
    free = "" if not any(each.busy for each in candidates) else " of those that are free"
    return f"highest score{free}: {_told(chosen)}{beside}"


def _told(one: Candidate) -> str:
    rests = f"{one.runs} runs" if one.runs else "no record"
    busy = ", busy" if one.busy else ""
    return f"{one.agent} {one.score:.2f} ± {one.confidence:.2f} ({rests}{busy})"


def _beside(mine: float, theirs: Sequence[float]) -> float:
    """1 for nothing at all, half for what is usual, towards 0 for ever more."""
    usual = median(theirs) if theirs else mine
    return usual / (usual + mine) if usual + mine > 0 else 0.5


def _sample(one: Candidate, assignment_id: str) -> float:
    """A draw from what is believed of the candidate's worth."""
    strength = PRIOR_RUNS + one.runs
    alpha, beta = max(one.score * strength, 1e-6), max((1 - one.score) * strength, 1e-6)
    return _draw(f"{assignment_id}\x1f{one.agent}").betavariate(alpha, beta)


def _draw(seed: str) -> random.Random:
    """Chance that is a function of its seed, the same in every process."""
    digest = hashlib.sha256(seed.encode()).digest()
    return random.Random(int.from_bytes(digest[:8], "big"))  # noqa: S311  (no secret)
