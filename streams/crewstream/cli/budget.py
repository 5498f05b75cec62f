"""What model calls have used of their budgets, and limits that are set while all runs."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import asdict
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated

import typer

from crewstream.cli import shell
from crewstream.cli.shell import AsJson

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from crewstream.adapters.budgets import Balance, Budgets
    from crewstream.config import Settings

app = typer.Typer(help="Show and set what model calls may use.", no_args_is_help=True)

ACCOUNT_HELP = "workflow:ID, tenant:ID:YYYY-MM or project:ID:YYYY-MM."
COLUMNS = (
    *("account", "tokens_spent", "tokens_reserved", "tokens_lost", "max_tokens"),
    *("cost_spent_usd", "cost_reserved_usd", "cost_lost_usd", "max_cost_usd"),
)


@app.command()
def show(
    accounts: Annotated[
        list[str] | None,
        typer.Argument(help=f"{ACCOUNT_HELP} Without one: every tenant and project."),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Show what is spent, reserved for calls under way, and lost with calls that a crash cut off.

    The limits are those that `budget set` has set; where there is none, the configured one holds.
    """
    _write(shell.run(_show(shell.begin(), accounts or [])), as_json=as_json)


@app.command(name="set")
def set_limit(
    account: Annotated[str, typer.Argument(help=ACCOUNT_HELP)],
    *,
    max_tokens: Annotated[int | None, typer.Option(min=0, help="0: no limit.")] = None,
    max_cost_usd: Annotated[str | None, typer.Option(help="US dollars; 0: no limit.")] = None,
    as_json: AsJson = False,
) -> None:
    """Set a limit in place of the configured one; runs under way meet it at their next call."""
    if max_tokens is None and max_cost_usd is None:
        raise typer.BadParameter("give --max-tokens or --max-cost-usd")
    if account.partition(":")[0] not in {"workflow", "tenant", "project"}:
        raise typer.BadParameter(f"{account!r} is no account: {ACCOUNT_HELP}")
    cost = None if max_cost_usd is None else _money(max_cost_usd)
    found = shell.run(_set(shell.begin(), account, max_tokens, cost))
    _write([found], as_json=as_json)


def _money(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not (amount.is_finite() and amount >= 0):
        raise typer.BadParameter(f"{text!r} is no amount of US dollars")
    return amount


def _write(found: Sequence[Balance], *, as_json: bool) -> None:
    shell.write_rows([asdict(one) for one in found], COLUMNS, as_json=as_json)


async def _show(settings: Settings, accounts: Sequence[str]) -> Sequence[Balance]:
    async with _budgets(settings) as budgets:
        return await budgets.show(accounts)


async def _set(
    settings: Settings, account: str, max_tokens: int | None, max_cost_usd: Decimal | None
) -> Balance:
    async with _budgets(settings) as budgets:
        return await budgets.set_limit(account, max_tokens=max_tokens, max_cost_usd=max_cost_usd)


@asynccontextmanager
async def _budgets(settings: Settings) -> AsyncIterator[Budgets]:
    from crewstream.adapters.budgets import Budgets  # noqa: PLC0415
    from crewstream.adapters.redis import connect  # noqa: PLC0415

    redis = connect(settings.redis_url.get_secret_value())
    try:
        yield Budgets(redis, settings.prefix)
    finally:
        await redis.aclose()
