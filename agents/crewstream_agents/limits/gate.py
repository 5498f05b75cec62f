"""What one run may use, and its place in rates that all runs share."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Generator, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from crewstream_agents.cancellation import StopFlag
from crewstream_agents.limits import bucket
from crewstream_agents.limits.steps import Pause, Step, Work
from crewstream_agents.policy import Policy, Rate
from crewstream_agents.spec import CrewTask

SHORTEST_PAUSE_S: Final = 0.005
LONGEST_PAUSE_S: Final = 1.0
"""Between two questions of one that waits; well below the lease of its place."""

FREE_S: Final = 1.0
"""How long a model without a rate is taken to be free of its provider's pauses, unasked."""


class Asked(Protocol):
    """The Redis that all runners share; see `journal.store.Redises`."""

    @property
    def prefix(self) -> str: ...

    @property
    def free_until(self) -> MutableMapping[str, float]: ...

    def ask(self, script: str, keys: Sequence[str], args: Sequence[Any], flag: StopFlag) -> Any: ...


class WouldWait(Exception):
    """A rate has no place in time."""

    def __init__(self, name: str, wait_s: float) -> None:
        super().__init__(f"the shared rate of {name} has no place within the next {wait_s:.1f} s")
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class Gate:
    """A run's way to models and tools. `ends_at` is its deadline, by the monotonic clock.

    Without `redis`, rates are not kept and results are not cached.
    """

    task: CrewTask
    policy: Policy
    flag: StopFlag
    ends_at: float
    redis: Asked | None = None

    @property
    def left_s(self) -> float:
        """Seconds until the run's deadline."""
        return max(0.0, self.ends_at - time.monotonic())

    def enter(
        self, name: str, rate: Rate, tokens: int, most_s: float, model: str = ""
    ) -> Generator[Step, Any, float]:
        """Wait for a place in a bucket, and for pauses of the model: the seconds that it took.

        Raises WouldWait when that would take longer than `most_s`, or than the run has.
        """
        redis, pace = self.redis, bucket.pace(rate)
        limited = bool(rate.requests_per_minute or rate.tokens_per_minute)
        begun, waited = time.monotonic(), False
        if redis is None or (not limited and redis.free_until.get(name, 0.0) > begun):
            return 0.0
        ticket = _Ticket(self, redis, name, model or name, pace, tokens)
        try:
            while (wait_s := (yield Work(ticket.take))) > 0:
                waited = True
                yield Pause(self._pause_s(name, wait_s, min(most_s - _since(begun), self.left_s)))
        except BaseException:
            if limited:
                yield Work(ticket.leave)
            raise
        if not limited:
            redis.free_until[name] = time.monotonic() + FREE_S
        return _since(begun) if waited else 0.0

    @staticmethod
    def _pause_s(name: str, wait_s: float, most_s: float) -> float:
        if wait_s > most_s:
            raise WouldWait(name, wait_s)
        # Not all at once when a pause of the provider is over.
        later_s = wait_s * (1 + random.random() / 20)  # noqa: S311 - no secret
        return min(max(later_s, SHORTEST_PAUSE_S), LONGEST_PAUSE_S)

    def settle(self, name: str, rate: Rate, too_much: int) -> Generator[Step, Any, None]:
        """Give back tokens that were taken and not used; negative: take what was used beside."""
        redis = self.redis
        if redis is not None and rate.tokens_per_minute and too_much:
            args = [too_much, bucket.pace(rate).token_us]
            key = bucket.bucket_key(redis.prefix, name)
            yield Work(lambda: redis.ask(bucket.SETTLE, [key], args, self.flag))

    def back_off(self, model: str, asked_s: float | None) -> Generator[Step, Any, None]:
        """Keep everybody from a provider that wants no requests for now."""
        redis = self.redis
        if redis is None:
            return
        key = bucket.bucket_key(redis.prefix, model)
        args = [-1 if asked_s is None else round(asked_s * 1e6)]
        args += [bucket.LONGEST_BACK_US, bucket.KEPT_MS]
        redis.free_until.pop(model, None)
        yield Work(lambda: redis.ask(bucket.BACK_OFF, [key], args, self.flag))


def _since(moment: float) -> float:
    return time.monotonic() - moment


@dataclass(slots=True)
class _Ticket:
    """One call's place in the queue of a bucket."""

    gate: Gate
    redis: Asked
    name: str
    model: str
    pace: bucket.Pace
    tokens: int
    number: str = field(default_factory=lambda: uuid.uuid4().hex)

    def take(self) -> float:
        """Seconds until it is worth asking again; 0: go."""
        project = self.gate.task.project_id
        weight = self.gate.policy.models.weights.get(project, 1.0)
        pace = self.pace
        args = [self.number, project, weight, self.tokens, pace.request_us]
        args += [pace.request_tolerance_us, pace.token_us, bucket.TOLERANCE_US]
        args += [bucket.LEASE_US, bucket.KEPT_MS]
        return float(self._ask(bucket.TAKE, [self.name, self.model], args)) / 1e6

    def leave(self) -> None:
        """Let go of the place."""
        self._ask(bucket.LEAVE, [self.name], [self.number, self.gate.task.project_id])

    def _ask(self, script: str, names: Sequence[str], args: Sequence[Any]) -> Any:
        keys = [bucket.bucket_key(self.redis.prefix, name) for name in names]
        return self.redis.ask(script, keys, args, self.gate.flag)
