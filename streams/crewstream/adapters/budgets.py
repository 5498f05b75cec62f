"""What model calls were charged to accounts, and limits that replace the configured ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from redis import exceptions as redis_errors
from redis.asyncio import Redis

from crewstream.errors import Unreachable
from crewstream_agents.journal import layout

PAGE = 500


@dataclass(frozen=True, slots=True)
class Balance:
    """An account. `lost` is the most that calls can have used whose end a crash cut off.

    A limit of None was not set here, so the configured one holds; 0 lifts it.
    """

    account: str
    tokens_spent: int
    tokens_reserved: int
    tokens_lost: int
    cost_spent_usd: Decimal
    cost_reserved_usd: Decimal
    cost_lost_usd: Decimal
    max_tokens: int | None
    max_cost_usd: Decimal | None


class Budgets:
    """The accounts in Redis. Every method raises Unreachable."""

    def __init__(self, client: Redis, prefix: str) -> None:
        self._client, self._prefix = client, prefix

    async def show(self, accounts: Sequence[str] = ()) -> Sequence[Balance]:
        """These accounts; without a name all of tenants and projects, in the order of names."""
        try:
            names = accounts or await self._monthly()
            async with self._client.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.hgetall(layout.account_key(self._prefix, name))
                found = await pipe.execute()
        except (redis_errors.RedisError, OSError) as error:
            raise Unreachable(f"Redis is away: {error}") from error
        return [_balance(name, fields) for name, fields in zip(names, found, strict=True)]

    async def set_limit(
        self, account: str, *, max_tokens: int | None = None, max_cost_usd: Decimal | None = None
    ) -> Balance:
        """Have these limits hold for an account from its next model call on; None: as it is."""
        key = layout.account_key(self._prefix, account)
        limits: dict[str, int] = {}
        if max_tokens is not None:
            limits["max_tokens"] = max_tokens
        if max_cost_usd is not None:
            limits["max_cost"] = int(max_cost_usd * layout.NANO)
        try:
            if limits:
                await self._client.hset(key, mapping=limits)  # type: ignore[arg-type]
                await self._client.pexpire(key, layout.account_ttl_ms(account))
        except (redis_errors.RedisError, OSError) as error:
            raise Unreachable(f"Redis is away: {error}") from error
        return (await self.show([account]))[0]

    async def _monthly(self) -> list[str]:
        start = layout.account_key(self._prefix, "")
        keys = [
            key.decode().removeprefix(start)
            async for key in self._client.scan_iter(match=f"{start}*", count=PAGE)
        ]
        return sorted(name for name in keys if not name.startswith("workflow:"))


def _balance(account: str, fields: Mapping[bytes, bytes]) -> Balance:
    def count(name: str) -> int:
        return int(fields.get(name.encode(), b"0"))

    def money(name: str) -> Decimal:
        return Decimal(count(name)) / layout.NANO

    return Balance(
        account=account,
        tokens_spent=count("tokens_spent"),
        tokens_reserved=count("tokens_reserved"),
        tokens_lost=count("tokens_lost"),
        cost_spent_usd=money("cost_spent"),
        cost_reserved_usd=money("cost_reserved"),
        cost_lost_usd=money("cost_lost"),
        max_tokens=count("max_tokens") if b"max_tokens" in fields else None,
        max_cost_usd=money("max_cost") if b"max_cost" in fields else None,
    )
