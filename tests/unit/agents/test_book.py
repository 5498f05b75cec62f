"""The list of added projects is read as it was written, and whole or not at all."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from crewsample import PROJECT

from crewstream_agents import book, registry
from crewstream_agents.project import InvalidProject, Project

if TYPE_CHECKING:
    from pathlib import Path

TEA = Project(
    "tea",
    "Tea",
    {"tea": "tea.crew:Tea"},
    external_tools=["send"],
    folder="/srv/tea",
    paths=["/srv/tea/src"],
    late_paths=["/srv/tea/src/tea"],
    compat=True,
)


def test_what_is_added_is_found_until_it_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "new" / "projects.yaml"

    assert book.read(path) == {}
    book.put(path, TEA)
    book.put(path, replace(TEA, project_id="cocoa", external_tools={"send"}))
    assert book.read(path)["tea"] == TEA
    assert registry.projects(path)["tea"] == TEA
    assert [book.remove(path, "tea"), book.remove(path, "tea")] == [True, False]
    assert list(book.read(path)) == ["cocoa"]
    assert [each.name for each in path.parent.iterdir()] == ["projects.yaml"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("projects: {}", "version: 1"),
        ("a: [", "is not YAML"),
        ("version: 1\nprojects: {tea: {title: T}}", r"project 'tea': (?s:.*)crews"),
        ("version: 1\nprojects: {tea: {title: T, crews: {}, x: 1}}", "project 'tea'"),
    ],
)
def test_a_list_that_cannot_be_read_is_named(text: str, fault: str, tmp_path: Path) -> None:
    path = tmp_path / "projects.yaml"
    path.write_text(text)

    with pytest.raises(InvalidProject, match=fault):
        book.read(path)


def test_an_added_project_is_not_mistaken_for_an_installed_one(tmp_path: Path) -> None:
    path = tmp_path / "projects.yaml"
    book.put(path, replace(TEA, project_id=PROJECT.project_id))

    with pytest.raises(InvalidProject, match="sample, which is installed as well"):
        registry.projects(path)
