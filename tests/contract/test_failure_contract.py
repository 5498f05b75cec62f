"""docs/failure-contract.md has a test for each of its rows, and a row for each kind of fault."""

from __future__ import annotations

import re
from pathlib import Path

from crewstream.drill.plan import Kind

DOCS = Path(__file__).parents[2] / "docs" / "failure-contract.md"
PROMISES = 14
"""The rows of the contract itself, without those about the drill."""


def rows() -> list[list[str]]:
    found = re.search(r"<!-- rows -->\n(.*?)<!-- /rows -->", DOCS.read_text("utf-8"), re.DOTALL)
    assert found
    lines = found[1].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_each_row_names_a_test_a_promise_and_what_is_left_to_the_user() -> None:
    assert len(rows()) >= PROMISES
    for happens, promised, shown, _, left in rows():
        # That the test exists is held by test_docs.py, which follows every link.
        assert re.search(r"\[`test_\w+`\]\(\.\./tests/", shown), f"{happens}: no test"
        assert promised, f"{happens}: no promise"
        assert left, f"{happens}: nothing said about the user's part"


def test_each_kind_of_fault_is_in_a_row() -> None:
    drills = " ".join(row[3] for row in rows())
    assert {kind for kind in Kind if not re.search(rf"--only {kind}\b", drills)} == set()
