"""How the calls of a model are counted: which were made again, and whether that had been paid."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Answer(StrEnum):
    """What became of a request: an answer, a 429, or an answer that nobody waited for any more."""

    GIVEN = "given"
    REFUSED = "refused"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Call:
    """A request to the model. Times are seconds of the epoch.

    `content` is a hash of model and messages, `token` marks the answer, `used` are the tokens of
    earlier answers that the request holds.
    """

    content: str
    ref: str
    token: str
    answer: Answer
    asked_s: float
    answered_s: float
    used: Sequence[str]
    tokens: int


@dataclass(frozen=True, slots=True)
class Shadow:
    """A time in which what is in flight may be cut off, for a fault is not yet healed."""

    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class CallCounts:
    """What the calls add up to.

    `paid_twice`: contents asked again although the answer had been used, or no fault can have cut
    it off. `repeated_in_flight`: asked again because a fault cut the first one off before its
    answer was in the journal.
    """

    made: int
    distinct: int
    refused: int
    abandoned: int
    repeated_in_flight: int
    paid_twice: Sequence[str]
    tokens_made: int
    tokens_distinct: int


_TOKEN = re.compile(r"\bans-[0-9a-f]{16}\b")

SETTLES_WITHIN_S = 1.0
"""From the last byte of an answer to its record in the journal; a kill in between loses it."""


def read(path: Path) -> Sequence[Call]:
    """The requests that the model server has written down, in order."""
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return [
        Call(**{**found, "answer": Answer(found["answer"])}) for found in map(json.loads, lines)
    ]


def tokens_in(text: str) -> Sequence[str]:
    """The marks of our answers in a text."""
    return sorted(set(_TOKEN.findall(text)))


def count(
    calls: Sequence[Call], uses: Iterable[tuple[str, float]], shadows: Sequence[Shadow]
) -> CallCounts:
    """Count. `uses`: tokens that were seen elsewhere (in a tool's argument, a result), and when.

    An answer is written into the journal before it is used. So whoever has used it proves that it
    was there, and from then on its content must not be asked for again.
    """
    given = [call for call in calls if call.answer is Answer.GIVEN]
    by_content: dict[str, list[Call]] = defaultdict(list)
    for call in sorted(calls, key=lambda call: call.asked_s):
        if call.answer is not Answer.REFUSED:
            by_content[call.content].append(call)
    used_s = _first_uses(calls, uses)
    paid_twice, in_flight = list[str](), 0
    for same in by_content.values():
        for number, again in enumerate(same[1:], 1):
            if all(_cut_off(first, again, used_s, shadows) for first in same[:number]):
                in_flight += 1
            else:
                paid_twice.append(again.ref)
    firsts = {call.content: call for call in given}
    return CallCounts(
        made=len(given),
        distinct=len(firsts),
        refused=sum(call.answer is Answer.REFUSED for call in calls),
        abandoned=sum(call.answer is Answer.GONE for call in calls),
        repeated_in_flight=in_flight,
        paid_twice=paid_twice,
        tokens_made=sum(call.tokens for call in given),
        tokens_distinct=sum(call.tokens for call in firsts.values()),
    )


def _first_uses(calls: Iterable[Call], uses: Iterable[tuple[str, float]]) -> Mapping[str, float]:
    found: dict[str, float] = {}
    requests = ((token, call.asked_s) for call in calls for token in call.used)
    for token, at_s in (*requests, *uses):
        found[token] = min(at_s, found.get(token, at_s))
    return found


def _cut_off(
    first: Call, again: Call, used_s: Mapping[str, float], shadows: Sequence[Shadow]
) -> bool:
    """Whether the first call may have been lost before its answer was written down."""
    if first.answer is Answer.GONE:
        return True
    if used_s.get(first.token, again.asked_s) < again.asked_s:
        return False
    end_s = first.answered_s + SETTLES_WITHIN_S
    return any(s.start_s <= end_s and first.asked_s <= s.end_s for s in shadows)
