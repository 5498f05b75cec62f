"""Projects that are brought along: found, checked, and put on the installation's list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from crewstream import config
from crewstream.app import environment_of
from crewstream.config import Settings
from crewstream.contracts.topics import Topics
from crewstream.errors import Misconfigured
from crewstream_agents import book, describing, registry, scaffold, sources
from crewstream_agents.describing import Inspection
from crewstream_agents.project import COPY, LEFT_OUT, InvalidProject, Project


@dataclass(frozen=True, slots=True)
class Source:
    """What a person named: a folder, a file or a module, and how to take it.

    `crews` are targets by name, instead of those that would be found; an empty `project_id` or
    `title` is made of the project's own name. The others are as those of Project.
    """

    what: str
    crews: Mapping[str, str]
    project_id: str = ""
    title: str = ""
    compat: bool = False
    environment: Sequence[str] = ()
    isolation: str = COPY
    memory: str = LEFT_OUT


@dataclass(frozen=True, slots=True)
class Checked:
    """A project, and what making its crews showed."""

    project: Project
    inspection: Inspection


def check(source: Source, settings: Settings) -> Checked:
    """Find a project and make its crews. Raises Misconfigured when there is nothing to make."""
    try:
        project = _found(source)
        environ = environment_of(project, settings.shown_to_crews)
        return Checked(project, describing.inspect(project, environ))
    except InvalidProject as error:
        raise Misconfigured(str(error)) from error


def add(source: Source, settings: Settings) -> Checked:
    """The same, and put it on the list, unless none of its crews can be made.

    Raises Misconfigured, also for an id that an installed project has.
    """
    checked = check(source, settings)
    project = checked.project
    try:
        if project.project_id in registry.projects():
            raise Misconfigured(
                f"project {project.project_id!r} is installed as a distribution already: "
                "give this one another id with --id"
            )
        if checked.inspection.crews:
            book.put(settings.projects, project)
    except InvalidProject as error:
        raise Misconfigured(str(error)) from error
    if not checked.inspection.problems:
        describing.keep(project, config.cache_home() / "projects", checked.inspection.crews)
    return checked


def remove(project_id: str, settings: Settings) -> None:
    """Take an added project off the list. Raises Misconfigured when it is not on it."""
    try:
        if book.remove(settings.projects, project_id):
            return
        known = ", ".join(book.read(settings.projects)) or "none"
    except InvalidProject as error:
        raise Misconfigured(str(error)) from error
    raise Misconfigured(f"no project {project_id!r} was added; there are: {known}")


def new(name: str, parent: str) -> Sequence[str]:
    """Write a new project into `parent`; its files. Raises Misconfigured when it is there."""
    try:
        return scaffold.write(name, parent)
    except InvalidProject as error:
        raise Misconfigured(str(error)) from error


def topics_with(project_id: str, settings: Settings) -> Sequence[str]:
    """The topics of a project, whether Kafka has them or not."""
    topics = Topics.load(
        settings.topics, settings.prefix, settings.replicas, added=settings.projects
    )
    return [topic.name for topic in topics.all() if topic.project == project_id]


def _found(source: Source) -> Project:
    project = sources.detect(
        source.what, crews=source.crews, project_id=source.project_id, title=source.title
    )
    return replace(
        project,
        compat=source.compat,
        environment=tuple(source.environment),
        isolation=source.isolation,
        memory=source.memory,
    )
