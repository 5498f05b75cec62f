"""The shipped data are what the generators make, and every column is documented."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from crewstream_agents.projects.bizoholic.data import generate as bizoholic
from crewstream_agents.projects.coreldove.data import generate as coreldove

GENERATORS = pytest.mark.parametrize("generator", [bizoholic, coreldove], ids=["biz", "corel"])


def folder(generator: ModuleType) -> Path:
    assert generator.__file__ is not None
    return Path(generator.__file__).parent


@GENERATORS
def test_the_shipped_files_are_the_generated_ones(generator: ModuleType) -> None:
    shipped = {path.name: path.read_bytes() for path in folder(generator).glob("*.csv")}
    assert shipped == {name: text.encode() for name, text in generator.build().items()}


@GENERATORS
def test_the_readme_names_every_file(generator: ModuleType) -> None:
    readme = (folder(generator) / "README.md").read_text(encoding="utf-8")
    assert [name for name in generator.build() if f"`{name}`" not in readme] == []
