"""up, demo: a whole installation on this machine."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crewstream.cli import shell
from crewstream.errors import CrewstreamError

if TYPE_CHECKING:
    from crewstream.cli.progress import Services
    from crewstream.config import Settings
    from crewstream.embedded.installation import Installation, Ports
    from crewstream.embedded.supervisor import Service, Supervisor

app = typer.Typer()
PANEL = "On this machine"
INTERRUPTED = 1


@app.command(rich_help_panel=PANEL)
def up(
    *,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where it keeps its data, instead of the setting's.")
    ] = None,
    port_offset: Annotated[
        int, typer.Option(min=0, max=50_000, help="Added to every usual port, for a second one.")
    ] = 0,
    servers: Annotated[
        bool, typer.Option("--servers", help="Only Kafka and Valkey, to restore a backup into.")
    ] = False,
) -> None:
    """Run Kafka, Valkey, ClickHouse and our processes on this machine, until Ctrl-C."""
    from crewstream.embedded.installation import Ports  # noqa: PLC0415
    from crewstream.embedded.owned import claimed  # noqa: PLC0415

    settings = shell.begin(data_dir=data_dir)
    with claimed(settings.data_dir):
        ports = Ports.shifted(port_offset)
        installation, view = _installation(settings, settings.data_dir, ports, settings.projects)
        raise typer.Exit(
            asyncio.run(_until_told(_up(installation, view, servers=servers), view, told=0))
        )


@app.command(rich_help_panel=PANEL)
def demo(
    *,
    keep: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Keep the data there; see `up`.")
    ] = None,
) -> None:
    """Start everything in a temporary folder, run both example requests, show what came of them.

    The exit code is 0 only when both completed and are recorded in ClickHouse.
    """
    from crewstream.embedded.installation import Ports  # noqa: PLC0415
    from crewstream.embedded.owned import claimed  # noqa: PLC0415

    settings = shell.begin()
    with _folder(keep) as folder, claimed(folder):
        # Only what ships: a project of the user's is none of the demo's business.
        projects = folder / "projects.yaml"
        installation, view = _installation(settings, folder, Ports.free(), projects)
        work = _demo(installation, view, settings)
        code = asyncio.run(_until_told(work, view, told=INTERRUPTED))
    raise typer.Exit(code)


async def _up(installation: Installation, view: Services, *, servers: bool) -> int:
    from crewstream.embedded.reload import follow_projects  # noqa: PLC0415

    services = installation.servers() if servers else installation.services()
    async with _running(services, view) as supervisor:
        _show(installation, servers=servers)
        following = () if servers else (follow_projects(installation, supervisor, view.say),)
        await asyncio.gather(supervisor.wait(), *following)
    return 0


async def _demo(installation: Installation, view: Services, settings: Settings) -> int:
    from crewstream.cli import demo  # noqa: PLC0415

    async with _running(installation.services(), view):
        await demo.run(installation, view, settings)
    return 0


def _installation(
    settings: Settings, folder: Path, ports: Ports, projects: Path
) -> tuple[Installation, Services]:
    from rich.console import Console  # noqa: PLC0415

    from crewstream.cli.progress import Services  # noqa: PLC0415
    from crewstream.config import cache_home  # noqa: PLC0415
    from crewstream.embedded.installation import Installation  # noqa: PLC0415

    view = Services(Console(stderr=True))
    installation = Installation(
        folder,
        cache_dir=cache_home(),
        prefix=settings.prefix,
        ports=ports,
        topics=settings.topics,
        projects=projects,
        on_jar=view.jars,
    )
    return installation, view


@asynccontextmanager
async def _running(services: Sequence[Service], view: Services) -> AsyncIterator[Supervisor]:
    from crewstream.embedded.supervisor import Supervisor  # noqa: PLC0415

    async with AsyncExitStack() as stack:
        supervisor = Supervisor(services, on_event=view.tell)
        with view:
            await stack.enter_async_context(supervisor)
        yield supervisor


async def _until_told(work: Coroutine[Any, Any, int], view: Services, told: int) -> int:
    """The exit code of `work`; `told` after SIGINT or SIGTERM, when it has stopped what it started.

    A second signal ends this process at once, and with it whatever is on its leash.
    """
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
    signals = (signal.SIGINT, signal.SIGTERM)

    def stop() -> None:
        view.say("stopping; Ctrl-C once more ends everything at once")
        task.cancel()
        for number in signals:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    for number in signals:
        loop.add_signal_handler(number, stop)
    try:
        return await task
    except asyncio.CancelledError:
        return told


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """A folder for the demo: `keep`, or a temporary one that stays only when the demo fails."""
    folder = keep or Path(tempfile.mkdtemp(prefix="crewstream-demo-"))
    kept = keep is not None
    try:
        yield folder
    except CrewstreamError:
        kept = True
        print(f"the logs are in {folder / 'logs'}", file=sys.stderr)
        raise
    finally:
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)


def _show(installation: Installation, *, servers: bool) -> None:
    """Where everything listens, and what to try."""
    from crewstream.embedded.installation import Ports  # noqa: PLC0415

    health = ("coordinator", "worker", "recorder", "projector")
    places = [
        ("Kafka", installation.kafka.bootstrap),
        ("Valkey", installation.valkey.url),
    ]
    places += (
        ()
        if servers
        else [
            ("ClickHouse", installation.clickhouse_url),
            ("status", f"{installation.status_url}/v1/workflows"),
            ("schemas", installation.schemas_url),
            *((f"health of the {name}", installation.health_of(name)) for name in health),
        ]
    )
    places += [("data", str(installation.data_dir)), ("logs", str(installation.logs))]
    shell.write_table(("what", "where"), places)
    if installation.ports != Ports():
        print("\nClients in another shell need")
        for name, value in installation.settings.items():
            print(f"  export {name}={shlex.quote(value)}")
    print("\nTry next")
    if servers:
        print("  crewstream restore --from FOLDER", flush=True)
        return
    print(f"  crewstream submit {shlex.quote(example('marketing_campaign'))} --wait")
    print("  crewstream projects add FOLDER")
    print("  crewstream query projects", flush=True)


def example(name: str) -> str:
    """Where the example request of that name is, seen from here."""
    from crewstream.contracts.shipped import shipped  # noqa: PLC0415

    path = shipped() / "examples" / f"{name}.json"
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
