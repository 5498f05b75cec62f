"""projects.yaml: the projects that were added to an installation; read, and written whole."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import TypeAdapter, ValidationError

from crewstream_agents.project import InvalidProject, Project

VERSION: Final = 1
HEADER: Final = (
    "# Projects added to this installation; `crewstream projects` reads and writes it.\n"
)


def read(path: Path) -> Mapping[str, Project]:
    """The projects of the file by their ids; none when there is no file. Raises InvalidProject."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        return {}
    except yaml.YAMLError as error:
        raise InvalidProject(f"{path} is not YAML: {error}") from error
    if not content:
        return {}
    if not isinstance(content, dict) or content.get("version") != VERSION:
        raise InvalidProject(f"{path} has to say version: {VERSION} and map projects by their ids")
    entries = content.get("projects") or {}
    return {name: _entry(path, name, fields) for name, fields in entries.items()}


def put(path: Path, project: Project) -> None:
    """Write a project, in place of one with its id. Raises InvalidProject when `path` is broken."""
    _write(path, {**read(path), project.project_id: project})


def remove(path: Path, project_id: str) -> bool:
    """Take a project out; False when it is not there. Raises InvalidProject."""
    found = dict(read(path))
    if found.pop(project_id, None) is None:
        return False
    _write(path, found)
    return True


def _entry(path: Path, name: str, fields: Any) -> Project:
    known = Project.__dataclass_fields__.keys()
    if isinstance(fields, dict) and (unlike := fields.keys() - known):
        raise InvalidProject(f"{path}: project {name!r}: {', '.join(sorted(unlike))} is unknown")
    try:
        return TypeAdapter(Project).validate_python({"project_id": name, **fields})
    except (TypeError, ValidationError) as error:
        raise InvalidProject(f"{path}: project {name!r}: {error}") from error


def _write(path: Path, projects: Mapping[str, Project]) -> None:
    """Whole or not at all: processes may be reading it."""
    entries = {name: _fields(project) for name, project in sorted(projects.items())}
    text = HEADER + yaml.safe_dump({"version": VERSION, "projects": entries}, sort_keys=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()


def _fields(project: Project) -> Mapping[str, Any]:
    """What the file says of a project: plain lists, and nothing that is as it would be anyway."""
    plain = {key: _plain(value) for key, value in asdict(project).items()}
    return {key: value for key, value in plain.items() if value and key != "project_id"}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | set | frozenset) else value
