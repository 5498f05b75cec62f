"""topics.yaml as values: which topics there are, what they carry, how Kafka keeps them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from crewstream.contracts.added import added_projects
from crewstream.contracts.partitioning import partition_for
from crewstream.contracts.shipped import shipped
from crewstream.contracts.topic_rules import faults
from crewstream.errors import InvalidTopics

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["PROJECT", "Topic", "TopicTemplate", "Topics", "partition_for"]

PROJECT = "{project}"
IN_SYNC = "min.insync.replicas"
FULL = "FULL_TRANSITIVE"
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+$", max_length=60)]
Count = Annotated[int, Field(ge=1)]


def _countable(config: dict[str, str]) -> dict[str, str]:
    if not config.get(IN_SYNC, "1").isdecimal():
        raise ValueError(f"{IN_SYNC} is a number")
    return config


Config = Annotated[dict[str, str], AfterValidator(_countable)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Defaults(_Strict):
    """What a topic has that does not say otherwise."""

    partitions: Count
    replicas: Count
    config: Config = {}


class TopicTemplate(_Strict):
    """A topic as topics.yaml has it; one with {project} in its name stands for one per project."""

    name: str
    key: str
    record: str | None = None
    compatibility: Literal["BACKWARD_TRANSITIVE", "FULL_TRANSITIVE"] | None = None
    partitions: Count | None = None
    replicas: Count | None = None
    config: Config = {}
    about: str


class TopicsFile(_Strict):
    """topics.yaml, as it is written."""

    version: Literal[1]
    projects: tuple[Name, ...]
    defaults: Defaults
    topics: tuple[TopicTemplate, ...]


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as Kafka should have it."""

    name: str
    template: str
    key: str
    record: str | None
    partitions: int
    replicas: int
    config: Mapping[str, str]
    about: str
    project: str | None = None


@dataclass(frozen=True, slots=True)
class Topics:
    """Every topic of an installation."""

    projects: Sequence[str]
    templates: Sequence[TopicTemplate]
    prefix: str
    _by_name: Mapping[str, Topic]

    @classmethod
    def load(
        cls,
        path: Path | None = None,
        prefix: str = "crewstream",
        replicas: int | None = None,
        added: Path | None = None,
    ) -> Topics:
        """Read topics.yaml, the shipped one unless told otherwise.

        `replicas` overrides every topic's, and lowers min.insync.replicas where it would not be
        reachable. `added` is the projects.yaml whose projects have topics too. Raises
        InvalidTopics, which names every fault.
        """
        path = path or shipped() / "topics.yaml"
        more = added_projects(added) if added is not None else ()
        return cls.parse(path.read_text("utf-8"), prefix, replicas, source=str(path), more=more)

    @classmethod
    def parse(
        cls,
        text: str,
        prefix: str = "crewstream",
        replicas: int | None = None,
        source: str = "topics.yaml",
        more: Sequence[str] = (),
    ) -> Topics:
        """The same from a text; `source` is what it is called in messages, `more` are projects."""
        try:
            file = TopicsFile.model_validate(yaml.safe_load(text))
            projects = tuple(dict.fromkeys([*file.projects, *more]))
            file = file.model_copy(update={"projects": projects})
        except (yaml.YAMLError, ValidationError) as error:
            raise InvalidTopics(f"{source}: {_reason(error)}") from error
        topics = [topic for each in file.topics for topic in _expand(each, file, prefix, replicas)]
        if found := faults(file.topics, topics):
            raise InvalidTopics(f"{source}: " + "; ".join(found))
        return cls(file.projects, file.topics, prefix, {topic.name: topic for topic in topics})

    def all(self) -> Sequence[Topic]:
        """Every topic, those of each project written out."""
        return tuple(self._by_name.values())

    def on_one_broker(self) -> Topics:
        """The same with one copy of each, which is all that a single broker can have."""
        single = {
            name: replace(topic, replicas=1, config=_reachable(topic.config, 1))
            for name, topic in self._by_name.items()
        }
        return replace(self, _by_name=single)

    def full(self, template: str, project: str | None = None) -> str:
        """The name in Kafka: ("{project}.tasks", "bizoholic") -> "crewstream.bizoholic.tasks".

        Raises InvalidTopics when topics.yaml has no such topic or project.
        """
        name = _full(self.prefix, template, project)
        return self.topic(name).name

    def topic(self, name: str) -> Topic:
        """The topic with this name in Kafka. Raises InvalidTopics when there is none."""
        found = self._by_name.get(name)
        if found is None:
            known = ", ".join(sorted(self._by_name))
            raise InvalidTopics(f"topics.yaml makes no topic {name}; there are {known}")
        return found

    def record_of(self, name: str) -> str | None:
        """The record that a topic carries; None: any bytes. Raises InvalidTopics."""
        return self.topic(name).record

    def partitions(self, name: str) -> int:
        """How many partitions a topic has. Raises InvalidTopics."""
        return self.topic(name).partitions

    def subjects(self) -> Mapping[str, str]:
        """Subject template -> record: what the lock of schema ids is about."""
        return {f"{each.name}-value": each.record for each in self.templates if each.record}

    def modes(self) -> Mapping[str, str]:
        """Record -> how compatible its next schema must be; FULL_TRANSITIVE if any topic asks."""
        found: dict[str, str] = {}
        for each in self.templates:
            if each.record and each.compatibility and found.get(each.record) != FULL:
                found[each.record] = each.compatibility
        return found


def _expand(
    each: TopicTemplate,
    file: TopicsFile,
    prefix: str,
    replicas: int | None,
) -> Sequence[Topic]:
    copies = replicas or each.replicas or file.defaults.replicas
    config: Mapping[str, str] = file.defaults.config | each.config
    if replicas is not None:
        config = _reachable(config, replicas)
    return [
        Topic(
            name=_full(prefix, each.name, project),
            template=each.name,
            key=each.key,
            record=each.record,
            partitions=each.partitions or file.defaults.partitions,
            replicas=copies,
            config=config,
            about=each.about,
            project=project,
        )
        for project in (file.projects if PROJECT in each.name else (None,))
    ]


def _reachable(config: Mapping[str, str], copies: int) -> Mapping[str, str]:
    """A topic's settings with no more copies in sync wanted than there are."""
    if int(config.get(IN_SYNC, "1")) <= copies:
        return config
    return {**config, IN_SYNC: str(copies)}


def _full(prefix: str, template: str, project: str | None) -> str:
    return f"{prefix}." + (template.replace(PROJECT, project) if project else template)


def _reason(error: yaml.YAMLError | ValidationError) -> str:
    if isinstance(error, yaml.YAMLError):
        return f"no YAML: {error}"
    return "; ".join(
        f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()
    )
