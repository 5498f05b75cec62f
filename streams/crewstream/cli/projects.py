"""projects list, check, add, remove, new: crews that are brought along."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from crewstream.cli import shell
from crewstream.cli.shell import AsJson
from crewstream.errors import Unreachable

if TYPE_CHECKING:
    from crewstream.app.projects import Checked, Source
    from crewstream.config import Settings

app = typer.Typer(
    invoke_without_command=True, help="Bring your own crews: folders, modules, crew.jsonc, flows."
)

What = Annotated[
    str,
    typer.Argument(
        metavar="PATH|MODULE",
        help="A project's folder, a crew.jsonc, a flow.yaml, a module, or module:function.",
    ),
]
Crews = Annotated[
    list[str] | None,
    typer.Option(
        "--crew",
        metavar="NAME=TARGET",
        help="What makes a crew, module:name, instead of what is found; may be repeated.",
    ),
]
Id = Annotated[str, typer.Option("--id", help="Id of the project, instead of its own name.")]
Title = Annotated[str, typer.Option(help="Name for people.")]
Compat = Annotated[
    bool, typer.Option("--compat", help="Take what was written for an earlier CrewAI as it meant.")
]

Env = Annotated[
    list[str] | None,
    typer.Option(
        "--env",
        metavar="NAME",
        help="A variable that its crews may read, such as a tool's key; may be repeated.",
    ),
]

Isolation = Annotated[
    Literal["copy", "fresh", "process"],
    typer.Option(help="How its runs are kept apart: see docs/security.md."),
]
Memory = Annotated[
    Literal["left_out", "scoped", "refused"],
    typer.Option(help="Of crews that remember: run without, keep one for each tenant, refuse."),
]


@app.callback(invoke_without_command=True)
def projects(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Show which projects are here, or bring one along."""
    if context.invoked_subcommand is None:
        _list(as_json=as_json)


@app.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """Show which projects are installed or added here, their crews and what they can do."""
    _list(as_json=as_json)


@app.command()
def check(
    what: What,
    *,
    crew: Crews = None,
    id_: Id = "",
    title: Title = "",
    compat: Compat = False,
    env: Env = None,
    isolation: Isolation = "copy",
    memory: Memory = "left_out",
    as_json: AsJson = False,
) -> None:
    """Make a project's crews and say what would be otherwise here; changes nothing.

    The exit code is 1 when a crew cannot run.
    """
    from crewstream.app import projects as bring  # noqa: PLC0415

    settings = shell.begin()
    source = _source(
        what,
        crew,
        project_id=id_,
        title=title,
        compat=compat,
        environment=env or (),
        isolation=isolation,
        memory=memory,
    )
    checked = bring.check(source, settings)
    _show(checked, as_json=as_json)
    raise typer.Exit(1 if checked.inspection.problems else 0)


@app.command()
def add(
    what: What,
    *,
    crew: Crews = None,
    id_: Id = "",
    title: Title = "",
    compat: Compat = False,
    env: Env = None,
    isolation: Isolation = "copy",
    memory: Memory = "left_out",
    as_json: AsJson = False,
) -> None:
    """Check a project, put it on this installation's list, and make its topics.

    A running `crewstream up` takes it up by itself; other processes when they are started anew. The
    exit code is 1 when a crew cannot run.
    """
    from crewstream.app import projects as bring  # noqa: PLC0415

    settings = shell.begin()
    source = _source(
        what,
        crew,
        project_id=id_,
        title=title,
        compat=compat,
        environment=env or (),
        isolation=isolation,
        memory=memory,
    )
    checked = bring.add(source, settings)
    added = bool(checked.inspection.crews)
    topics = _make_topics(settings, checked) if added else ""
    _show(checked, as_json=as_json, added=added, topics=topics)
    if added and not as_json:
        print(f"\n{checked.project.project_id} is on the list {settings.projects}; {topics}")
        _show_request(checked)
    raise typer.Exit(1 if checked.inspection.problems else 0)


@app.command()
def remove(
    project: Annotated[str, typer.Argument(help="Its id.")], *, as_json: AsJson = False
) -> None:
    """Take an added project off the list. Its folder and its topics stay."""
    from crewstream.app import projects as bring  # noqa: PLC0415

    settings = shell.begin()
    topics = bring.topics_with(project, settings)
    bring.remove(project, settings)
    if as_json:
        shell.write_json({"removed": project, "topics_kept": topics})
    else:
        print(f"{project} is off the list; its topics stay: {', '.join(topics)}")


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Its name; a folder of this name is made.")],
    *,
    into: Annotated[str, typer.Option(help="The folder in which it is made.")] = ".",
    as_json: AsJson = False,
) -> None:
    """Write a new project as `crewai create crew` does, with a test that needs no model."""
    from crewstream.app import projects as bring  # noqa: PLC0415

    shell.begin()
    files = bring.new(name, into)
    if as_json:
        shell.write_json(files)
        return
    folder = shlex.quote(files[0].rpartition("/")[0])
    print("\n".join(files))
    print(f"\nTry next\n  crewstream projects add {folder}\n  python -m pytest {folder}")


def _list(*, as_json: bool) -> None:
    from crewstream.app import describe_projects  # noqa: PLC0415

    settings = shell.begin()
    found = describe_projects(settings.projects, for_all=settings.shown_to_crews)
    if as_json:
        shell.write_json([asdict(project) for project in found])
        return
    rows = [
        (project.project_id, crew.crew, crew.kind, task.task_type, task.agent, _names(task.tools))
        for project in found
        for crew in project.crews
        for task in crew.tasks
    ]
    shell.write_table(("project", "crew", "kind", "task", "agent", "tools"), rows)


def _source(what: str, crew: Sequence[str] | None, **said: Any) -> Source:
    from crewstream.app.projects import Source  # noqa: PLC0415

    pairs = [each.partition("=") for each in crew or ()]
    if wrong := ["".join(pair) for pair in pairs if not (pair[0] and pair[2])]:
        raise typer.BadParameter(f"--crew {wrong[0]}: write it as NAME=module:name")
    return Source(what, {name: target for name, _, target in pairs}, **said)


def _make_topics(settings: Settings, checked: Checked) -> str:
    """What became of the project's topics; without Kafka they are made when it is there."""
    from crewstream.adapters import kafka  # noqa: PLC0415
    from crewstream.cli.topics import load  # noqa: PLC0415

    wanted = load(settings)
    ours = [topic.name for topic in wanted.all() if topic.project == checked.project.project_id]

    async def make() -> str:
        plan = await kafka.plan(wanted, settings.kafka)
        create = [topic for topic in plan.create if topic.name in ours]
        await kafka.apply(type(plan)(create=create), settings.kafka)
        return f"topics made: {', '.join(topic.name for topic in create) or 'all there already'}"

    try:
        return shell.run(make())
    except Unreachable as error:
        return f"its topics are made by `crewstream up` or `crewstream topics apply` ({error})"


def _show(checked: Checked, *, as_json: bool, **more: object) -> None:
    project, found = checked.project, checked.inspection
    if as_json:
        shell.write_json({"project": asdict(project), **asdict(found), **more})
        return
    print(f"project {project.project_id}, {project.title}")
    for crew in found.crews:
        print(f"\n{crew.kind} {crew.crew} ({project.crews[crew.crew]}), {crew.process}")
        if crew.inputs:
            print(f"  inputs: {_names(crew.inputs)}")
        for task in crew.tasks:
            tools = f", tools {_names(task.tools)}" if task.tools else ""
            print(f"  task {task.task_type}" + (f" by {task.agent}" if task.agent else "") + tools)
    if found.findings:
        print()
        rows = [(each.level, each.where, each.message) for each in found.findings]
        shell.write_table(("what", "where", "it says"), rows)


def _show_request(checked: Checked) -> None:
    """A request that can be sent as it is, once its inputs say something."""
    crew = checked.inspection.crews[-1]
    request: dict[str, Any] = {
        "project_id": checked.project.project_id,
        "inputs": dict.fromkeys(crew.inputs, "…"),
        "tasks": [{"task_id": crew.crew, "crew": crew.crew}],
    }
    print("\nTry it, while `crewstream up` runs")
    said = shlex.quote(json.dumps(request, ensure_ascii=False))
    print(f"  echo {said} | crewstream submit - --wait")


def _names(names: Sequence[str]) -> str:
    return ", ".join(names)
