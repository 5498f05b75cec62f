"""doctor: is everything there that crewstream needs, and if not, what to do."""

from __future__ import annotations

import asyncio
import platform
import sys
from collections.abc import Coroutine, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import typer
from packaging.requirements import Requirement

from crewstream.cli import shell
from crewstream.cli.shell import AsJson
from crewstream.errors import CrewstreamError

if TYPE_CHECKING:
    from crewstream.config import Settings

app = typer.Typer()

PATIENCE_S = 15.0

# What was found, and what to do about it.
Seen = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, where, what was found, and what to do about it; "" when all is well."""

    what: str
    where: str
    found: str
    mend: str = ""

    @property
    def ok(self) -> bool:
        """Whether there is nothing to do."""
        return not self.mend


@app.command(rich_help_panel="Operate")
def doctor(*, as_json: AsJson = False) -> None:
    """Look at everything that crewstream needs; exit code 1 when something is amiss."""
    found = shell.run(_examine(shell.begin()))
    if as_json:
        shell.write_json([{**asdict(each), "ok": each.ok} for each in found])
    else:
        for each in found:
            print(
                f"{'ok' if each.ok else '!!'} {each.what:<11}{each.found:<34} {each.where}".rstrip()
            )
            if each.mend:
                print(f"   {'':<11}{each.mend}")
    if not all(each.ok for each in found):
        raise typer.Exit(1)


async def _examine(settings: Settings) -> Sequence[Finding]:
    looks = (
        look("versions", sys.prefix, _versions()),
        look("kafka", settings.kafka_bootstrap, _kafka(settings)),
        look("redis", settings.redis_url.get_secret_value(), _redis(settings)),
        look("clickhouse", settings.clickhouse_dsn.get_secret_value(), _clickhouse(settings)),
        look("registry", settings.registry_url, _registry(settings)),
        look("status", settings.status_url, _status(settings)),
        look("models", str(settings.models or ""), _models(settings)),
        look("java", "", _java()),
    )
    return await asyncio.gather(*looks)


async def look(
    what: str, where: str, seen: Coroutine[None, None, Seen], patience_s: float = PATIENCE_S
) -> Finding:
    """A finding, come what may: an error of ours says how to mend what it is about."""
    where = _without_password(where)
    try:
        found, mend = await asyncio.wait_for(seen, patience_s)
    except TimeoutError:
        found, mend = "no answer", f"find out why it does not answer within {patience_s:g} s"
    except CrewstreamError as error:
        found, mend = "not usable", str(error)
    return Finding(what, where, found, mend)


async def _versions() -> Seen:
    pins = [Requirement(each) for each in requires("crewstream") or []]
    wrong = [told for pin in pins if (told := _unlike(pin))]
    found = f"crewstream {version('crewstream')}, Python {platform.python_version()}"
    if not wrong:
        return found, ""
    return found, "; ".join([*wrong, "install what requirements.lock says (`make setup`)"])


def _unlike(pin: Requirement) -> str:
    """What is wrong with an installed distribution. Extras that are not installed are no fault."""
    try:
        have = version(pin.name)
    except PackageNotFoundError:
        return "" if pin.marker else f"{pin.name} is missing"
    return (
        ""
        if pin.specifier.contains(have, prereleases=True)
        else f"{pin.name} is {have}, not {pin.specifier}"
    )


async def _kafka(settings: Settings) -> Seen:
    from crewstream.adapters import kafka  # noqa: PLC0415
    from crewstream.contracts.topics import Topics  # noqa: PLC0415

    topics = Topics.load(
        settings.topics,
        prefix=settings.prefix,
        replicas=settings.replicas,
        added=settings.projects,
    )
    plan = await kafka.plan(topics, settings.kafka)
    if plan.in_sync:
        return f"{len(topics.all())} topics, in sync", ""
    differs = f"{len(plan.text.splitlines())} differences to topics.yaml"
    return differs, "see `crewstream topics plan`, then `crewstream topics apply`"


async def _redis(settings: Settings) -> Seen:
    from crewstream.adapters.redis import connect, ping  # noqa: PLC0415

    redis = connect(settings.redis_url.get_secret_value())
    try:
        return await ping(redis), ""
    finally:
        await redis.aclose()


async def _clickhouse(settings: Settings) -> Seen:
    from crewstream.adapters.clickhouse import connect  # noqa: PLC0415

    async with connect(settings.clickhouse_dsn.get_secret_value()) as analytics:
        answer = await analytics.query("SELECT version()")
    return f"ClickHouse {answer.rows[0][0]}", ""


async def _models(settings: Settings) -> Seen:
    from crewstream.app.policy import models_problems  # noqa: PLC0415

    named, wrong = models_problems(settings)
    return named, "; ".join(each.rstrip(".") for each in wrong)


async def _registry(settings: Settings) -> Seen:
    from crewstream.adapters.registry import Registry  # noqa: PLC0415
    from crewstream.contracts.schemas import Schemas  # noqa: PLC0415
    from crewstream.contracts.topics import Topics  # noqa: PLC0415

    if not settings.registry_url:
        return "none: the committed lock is enough", ""
    async with Registry(settings.registry_url) as registry:
        missing = await registry.missing(
            Schemas.load(),
            Topics.load(settings.topics, prefix=settings.prefix, added=settings.projects),
        )
    if missing:
        return f"{len(missing)} schemas missing", "`crewstream schemas register`"
    return "agrees with the lock", ""


async def _status(settings: Settings) -> Seen:
    await shell.client(settings).list(limit=1)
    return "the projector answers", ""


async def _java() -> Seen:
    from crewstream.embedded.java import find_java  # noqa: PLC0415

    try:
        java = await asyncio.to_thread(find_java)
    except CrewstreamError as error:
        # Kafka may well run elsewhere; then nobody here needs Java.
        return f"none, and only `up` and `demo` need it ({error})", ""
    return f"Java {java.major} at {java.path}", ""


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if parts.netloc else url
