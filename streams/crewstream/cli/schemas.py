"""schemas check, lock, generate, register: the events' schemas and what follows from them."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crewstream.cli import shell
from crewstream.cli.shell import AsJson
from crewstream.errors import CrewstreamError, Misconfigured

if TYPE_CHECKING:
    from crewstream.config import Settings

app = typer.Typer(no_args_is_help=True, help="Check, release and generate from schemas/avro.")


# Of the lint group: a production image goes without.
GENERATOR = "datamodel_code_generator"


@app.command()
def check(*, as_json: AsJson = False) -> None:
    """Hold the schemas to our rules, to every released version, and the models to the schemas."""
    found = _findings()
    if as_json:
        shell.write_json({"findings": found})
    else:
        print("\n".join(found) or "schemas are in order")
    if found:
        raise typer.Exit(1)


@app.command()
def lock() -> None:
    """Release every changed schema: a version in the history, an id in the lock.

    Nothing is released that would break a rule.
    """
    from crewstream.contracts import lock as release  # noqa: PLC0415
    from crewstream.contracts.compatibility import incompatibilities  # noqa: PLC0415
    from crewstream.contracts.schemas import Schemas  # noqa: PLC0415
    from crewstream.contracts.topics import Topics  # noqa: PLC0415

    topics = Topics.load()
    if broken := incompatibilities(Schemas.load(_avro()), topics.modes()):
        raise CrewstreamError("not released: " + "; ".join(broken))
    added = release.lock(_avro(), topics.subjects())
    print("\n".join(added) or "nothing to release")


@app.command()
def generate() -> None:
    """Write the models of the events anew. Needs the development tools."""
    from crewstream.contracts import events  # noqa: PLC0415
    from crewstream.contracts.codegen import generate as models  # noqa: PLC0415

    if not _can_generate():
        raise CrewstreamError(f"{GENERATOR} is not installed; `make setup` brings it")
    Path(events.__file__).write_text(models(_avro()), encoding="utf-8")
    print(f"written: {events.__file__}")


@app.command()
def register(
    *,
    import_ids: Annotated[
        bool, typer.Option("--import-ids", help="Give the registry our ids (its IMPORT mode).")
    ] = False,
) -> None:
    """Put the locked schemas into the registry of CREWSTREAM_REGISTRY_URL."""
    settings = shell.begin()
    if not settings.registry_url:
        raise Misconfigured("there is no registry to register at; set CREWSTREAM_REGISTRY_URL")
    done = shell.run(_register(settings, import_ids=import_ids))
    print("\n".join(done) or "the registry has them all")


async def _register(settings: Settings, *, import_ids: bool) -> list[str]:
    from crewstream.adapters.registry import Registry  # noqa: PLC0415
    from crewstream.contracts.schemas import Schemas  # noqa: PLC0415
    from crewstream.contracts.topics import Topics  # noqa: PLC0415

    topics = Topics.load(settings.topics, prefix=settings.prefix, added=settings.projects)
    async with Registry(settings.registry_url) as registry:
        return await registry.register(Schemas.load(), topics, import_ids=import_ids)


def _avro() -> Path:
    from crewstream.contracts.shipped import shipped  # noqa: PLC0415

    return shipped() / "schemas" / "avro"


def _can_generate() -> bool:
    return find_spec(GENERATOR) is not None


def _findings() -> list[str]:
    from crewstream.contracts import events  # noqa: PLC0415
    from crewstream.contracts.codegen import generate as models  # noqa: PLC0415
    from crewstream.contracts.compatibility import incompatibilities  # noqa: PLC0415
    from crewstream.contracts.schema_rules import findings  # noqa: PLC0415
    from crewstream.contracts.schemas import Schemas  # noqa: PLC0415
    from crewstream.contracts.topics import Topics  # noqa: PLC0415

    schemas, topics = Schemas.load(), Topics.load()
    found = findings(schemas, topics.subjects()) + incompatibilities(schemas, topics.modes())
    if not _can_generate():
        print(f"events.py was not compared: {GENERATOR} is not installed", file=sys.stderr)
    elif Path(events.__file__).read_text(encoding="utf-8") != models(_avro()):
        found.append("events.py is not what the schemas say: run `crewstream schemas generate`")
    return found
