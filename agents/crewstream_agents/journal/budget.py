"""What a model call can cost at most, and what it has cost, as it is charged to accounts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from crewstream_agents.journal import layout
from crewstream_agents.limits.serving import most_tokens
from crewstream_agents.measure import provider_of
from crewstream_agents.models import fallbacks
from crewstream_agents.spec import BudgetAlert, Usage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from crewstream_agents.journal.store import Refused
    from crewstream_agents.measure import Recorder


@dataclass(frozen=True, slots=True)
class Charge:
    """An amount, and the reservation that it is held under or settles."""

    reservation: str
    tokens: int
    nano_usd: int

    def held(self, accounts: Sequence[str]) -> str:
        """The reservation as the scripts read it."""
        return json.dumps({"tokens": self.tokens, "cost": self.nano_usd, "accounts": accounts})


def at_most(reservation: str, recorder: Recorder, llm: Any, given: Mapping[str, Any]) -> Charge:
    """What a call can use, also on the models behind it. Without a price, tokens only."""
    charges = [_of(reservation, recorder, one, given) for one in (llm, *fallbacks(llm))]
    tokens, nano_usd = (max(getattr(c, n) for c in charges) for n in ("tokens", "nano_usd"))
    return Charge(reservation, tokens, nano_usd)


def _of(reservation: str, recorder: Recorder, llm: Any, given: Mapping[str, Any]) -> Charge:
    usage = Usage(*most_tokens(llm, given))
    cost = recorder.cost(provider_of(llm, str(llm.model)), str(llm.model), usage)
    return _charge(reservation, usage, cost or Decimal(0))


def spent(reservation: str, usage: Usage) -> Charge:
    """What a call has used."""
    return _charge(reservation, usage, usage.cost_usd)


def soft_alert(field: str, value: bytes) -> tuple[int, BudgetAlert]:
    """A crossed soft limit as the journal keeps it: the record that crossed it, and the alert."""
    _, unit, account = field.split(":", 2)
    sequence, used, limit = (int(part) for part in value.split(b":"))
    return sequence, _alert(account, "soft", unit, used, limit)


def hard_alert(refused: Refused) -> BudgetAlert:
    """A reached limit."""
    return _alert(refused.account, "hard", refused.unit, refused.used, refused.limit)


def _charge(reservation: str, usage: Usage, cost_usd: Decimal) -> Charge:
    tokens = usage.input_tokens + usage.output_tokens
    return Charge(reservation, tokens, int(cost_usd * layout.NANO))


def _alert(account: str, level: str, unit: str, used: int, limit: int) -> BudgetAlert:
    part = layout.NANO if unit == "cost" else 1
    return BudgetAlert(
        account=account,
        level=level,
        unit="usd" if unit == "cost" else "tokens",
        spent=Decimal(used) / part,
        limit=Decimal(limit) / part,
    )
