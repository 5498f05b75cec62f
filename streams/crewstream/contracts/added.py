"""projects.yaml as topics see it: which projects were added to an installation, and where it is."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from crewstream.errors import InvalidTopics

if TYPE_CHECKING:
    from collections.abc import Sequence

ID = re.compile(r"[a-z0-9-]{1,60}")


def data_home() -> Path:
    """The user's folder for data of programs, by the XDG rules."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "crewstream"


def usual_file() -> Path:
    """Where projects.yaml is unless CREWSTREAM_PROJECTS says else: the same for all of a user's."""
    return data_home() / "projects.yaml"


def added_projects(path: Path) -> Sequence[str]:
    """The ids of the projects that were added; none when there is no file. Raises InvalidTopics."""
    try:
        content: Any = yaml.safe_load(path.read_text("utf-8")) or {}
    except FileNotFoundError:
        return ()
    except yaml.YAMLError as error:
        raise InvalidTopics(f"{path}: no YAML: {error}") from error
    entries = content.get("projects") or {} if isinstance(content, dict) else None
    if not isinstance(entries, dict):
        raise InvalidTopics(f"{path}: projects has to map the projects by their ids")
    if wrong := [name for name in entries if not ID.fullmatch(str(name))]:
        raise InvalidTopics(f"{path}: {wrong[0]!r} is no id: lower case, digits and hyphens")
    return tuple(entries)
