"""Journals in Redis: one script a write, refused when another run owns the journal.

While Redis is away whoever writes waits: an answer that is paid for is never lost, and no run dies
of an outage. Only a run that was stopped waits no longer.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from crewstream_agents.journal import layout
from crewstream_agents.journal.away import AWAY
from crewstream_agents.refusal import RunRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from crewstream_agents.cancellation import StopFlag
    from crewstream_agents.journal.budget import Charge
    from crewstream_agents.spec import CrewTask, JournalPlace

logger = logging.getLogger(__name__)

ANSWER_WITHIN_S: Final = 5.0
FIRST_PAUSE_S: Final = 0.05
LAST_PAUSE_S: Final = 1.0


class Redises:
    """A process's connection to Redis, for the journals of all its runs and what they share.

    `beat` is called now and then while the thread that made this object waits here: a run may ask
    from the event loop, and a loop that waits must not look as if it hung.
    """

    def __init__(self, place: JournalPlace, beat: Callable[[], object]) -> None:
        self.prefix = place.prefix
        self._client: Any = Redis.from_url(
            place.redis_url,
            socket_timeout=ANSWER_WITHIN_S,
            socket_connect_timeout=ANSWER_WITHIN_S,
            retry=Retry(NoBackoff(), 0),
        )
        self._beat, self._loop = beat, threading.get_ident()
        self._scripts: dict[str, Any] = {}
        self.free_until: dict[str, float] = {}
        """Models that a moment ago nobody had to wait for: until when that is not asked again."""
        self._is_away = False

    def ask(self, script: str, keys: Sequence[str], args: Sequence[Any], flag: StopFlag) -> Any:
        """The answer of a script. Waits while Redis is away; raises HookAborted when stopped."""
        pause_s = FIRST_PAUSE_S
        run = self._scripts.get(script)
        if run is None:
            run = self._scripts[script] = self._client.register_script(script)
        while True:
            try:
                answer = run(keys=keys, args=args)
            except AWAY as error:
                self._away(error)
            else:
                self._back()
                return answer
            flag.check()
            if threading.get_ident() == self._loop:
                self._beat()
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, LAST_PAUSE_S)

    def close(self) -> None:
        self._client.close()

    def _away(self, error: Exception) -> None:
        if not self._is_away:
            logger.warning("Redis is away; runs wait: %s", error)
        self._is_away = True

    def _back(self) -> None:
        if self._is_away:
            logger.warning("Redis is back")
        self._is_away = False


@dataclass(frozen=True, slots=True)
class Written:
    """A record that is kept, and the soft limits that its run has crossed."""

    sequence: int
    alerts: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refused:
    """A reservation that does not fit: `used` of `limit`, in tokens or 1e-9 US dollars."""

    account: str
    unit: str
    used: int
    limit: int


class Lease:
    """A run's hold of its journal. Every method raises RunRefused (`run.fenced`) once it is lost.

    All of them block for a round trip, or for as long as Redis is away.
    """

    def __init__(self, redises: Redises, task: CrewTask, flag: StopFlag) -> None:
        self.epoch = 0
        self.limited = any(one.max_tokens or one.max_cost_usd for one in task.accounts)
        """Whether an account has a limit, as far as is known."""
        self._redises, self._flag, self._name = redises, flag, task.journal
        self._journal = layout.journal_key(redises.prefix, task.journal)
        self._outcome = layout.outcome_key(redises.prefix, task.assignment_id)
        self._accounts = task.accounts
        self._keys = [layout.account_key(redises.prefix, one.name) for one in task.accounts]

    def acquire(self) -> Mapping[str, bytes]:
        """Take the journal over from whoever had it: all its fields.

        Refused as well when the attempt has an outcome already.
        """
        keys, args = [self._journal, self._outcome, *self._keys], [layout.JOURNAL_TTL_MS]
        epoch, *rest = self._redises.ask(layout.ACQUIRE, keys, args, self._flag)
        if not epoch:
            raise RunRefused("run.fenced", "this attempt has an outcome already", retryable=True)
        limited, flat = rest
        self.epoch, self.limited = epoch, self.limited or bool(limited)
        return {f.decode(): value for f, value in zip(flat[::2], flat[1::2], strict=True)}

    def put(self, field: str, data: bytes, charge: Charge | None = None) -> Written:
        """Keep a record and settle its reservation, at once. The same again changes nothing."""
        keys = [self._journal]
        args: list[Any] = [self.epoch, layout.JOURNAL_TTL_MS, field, data, "", 0, 0]
        if charge is not None:
            keys += self._keys
            args[4:] = [charge.reservation, charge.tokens, charge.nano_usd]
            for one in self._accounts:
                ttl_ms = layout.account_ttl_ms(one.name)
                args += [one.name, ttl_ms, *_limits(one), one.soft_ratio]
        answer = self._owned(self._redises.ask(layout.PUT, keys, args, self._flag))
        self.limited = self.limited or bool(answer[1])
        told = {f.decode(): v for f, v in zip(answer[2::2], answer[3::2], strict=True)}
        return Written(answer[0], told)

    def reserve(self, charge: Charge) -> Refused | None:
        """Hold the most that a call can use on every account, or on none of them."""
        args: list[Any] = [self.epoch, charge.reservation, charge.tokens, charge.nano_usd]
        args.append(charge.held(self._keys))
        for one in self._accounts:
            args += [layout.account_ttl_ms(one.name), *_limits(one)]
        keys = [self._journal, *self._keys]
        answer = self._owned(self._redises.ask(layout.RESERVE, keys, args, self._flag))
        if answer[0]:
            return None
        _, number, unit, used, limit = answer
        return Refused(self._accounts[number].name, unit.decode(), used, limit)

    def release(self, reservation: str, *, lost: bool) -> None:
        """Let go of a reservation; `lost`: nobody knows what the call has cost."""
        args = [self.epoch, reservation, "lost" if lost else ""]
        self._redises.ask(layout.RELEASE, [self._journal], args, self._flag)

    def _owned(self, answer: Any) -> Any:
        if answer[0] == -1:
            raise RunRefused(
                "run.fenced", f"another run took the journal {self._name} over", retryable=True
            )
        return answer


def _limits(account: Any) -> tuple[int, int]:
    return account.max_tokens, int((account.max_cost_usd or 0) * layout.NANO)
