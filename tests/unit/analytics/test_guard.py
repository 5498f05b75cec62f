"""What a reader may ask, judged on parses as the engine gives them."""

from __future__ import annotations

import pytest

from crewstream.embedded.clickhouse_guard import LIMITS, Denied, check, reader_settings

KNOWN = frozenset({"file", "url", "numbers", "format"})


def tree(*lines: str) -> str:
    return "\n".join(["SelectWithUnionQuery (children 1)", *lines])


def test_a_select_from_the_database_passes() -> None:
    check("SELECT 1 FROM t", tree("   Function count (children 1)", "   Function numbers"), KNOWN)


@pytest.mark.parametrize(
    ("formatted", "parse"),
    [
        ("DROP TABLE t", "DropQuery"),
        ("EXISTS TABLE t", "ExistsTableQuery"),
        ("SELECT 1 INTO OUTFILE 'x'", tree()),
        ("SELECT 1", tree("    Set")),
        ("SELECT 1", tree("     Function FILE (children 1)")),
        ("SELECT 1", tree("     Function url (children 1)")),
        ("SELECT 1", tree("     Function aiGenerate (children 1)")),
        ("SELECT 1", tree("     Function sleepEachRow (children 1)")),
    ],
)
def test_ways_out_are_refused(formatted: str, parse: str) -> None:
    with pytest.raises(Denied):
        check(formatted, parse, KNOWN)


def test_words_in_a_string_are_only_words() -> None:
    check("SELECT 'it\\'s INTO OUTFILE'", tree("    Literal 'it\\'s INTO OUTFILE'"), KNOWN)


def test_a_reader_may_lower_its_limits_not_raise_them() -> None:
    most = LIMITS["max_execution_time"]
    for asked, given in [("5", 5), ("0", most), ("99999", most), ("-1", most), ("", most)]:
        assert reader_settings({"max_execution_time": asked})["max_execution_time"] == str(given)


@pytest.mark.parametrize(
    "name", ["readonly", "final", "allow_ddl", "output_format_schema", "x; DROP TABLE t"]
)
def test_other_settings_are_not_a_readers_to_choose(name: str) -> None:
    with pytest.raises(Denied, match="Cannot modify"):
        reader_settings({name: "0"})


def test_a_setting_that_is_so_already_is_no_change() -> None:
    assert reader_settings({"final": "1"})["final"] == "1"
