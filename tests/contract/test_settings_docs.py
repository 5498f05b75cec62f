"""docs/settings.md tells every setting as it is."""

from __future__ import annotations

from pathlib import Path

from crewstream import config

DOCS = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_table_in_the_docs_is_the_one_of_the_code() -> None:
    written = [line for line in DOCS.read_text("utf-8").splitlines() if line.startswith("|")]
    assert written == config.table().splitlines(), "put what config.table() gives into the docs"
