"""Writes a new project in CrewAI's own layout, from the files beside."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Final

from crewstream_agents.project import InvalidProject
from crewstream_agents.sources import identifier

LAYOUT: Final = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "src/${package}/__init__.py": "package.py",
    "src/${package}/crew.py": "crew.py",
    "src/${package}/config/agents.yaml": "agents.yaml",
    "src/${package}/config/tasks.yaml": "tasks.yaml",
    "src/${package}/tools/__init__.py": "tools.py",
    "src/${package}/tools/look_up.py": "look_up.py",
    "tests/test_crew.py": "test_crew.py",
}
"""Path in the new project -> file in `files/`, to which `.tmpl` is added there."""


def write(name: str, parent: str) -> Sequence[str]:
    """Make the folder `parent`/`name`; the files in it. Raises InvalidProject when it exists."""
    package = identifier(name)
    if not package.isidentifier():
        raise InvalidProject(f"{name!r} makes no Python name: begin it with a letter")
    folder = Path(parent, name)
    if folder.exists():
        raise InvalidProject(f"{folder} exists already: choose another name")
    words = {
        "package": package,
        "project": package.replace("_", "-"),
        "crew": "".join(word.capitalize() for word in package.split("_")),
        "title": package.replace("_", " ").capitalize(),
    }
    written = []
    for place, source in LAYOUT.items():
        path = folder / Template(place).substitute(words)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = files(__package__).joinpath("files", f"{source}.tmpl").read_text(encoding="utf-8")
        path.write_text(Template(text).substitute(words), encoding="utf-8")
        written.append(str(path))
    return written
