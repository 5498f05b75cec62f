"""The ready-made queries as files: headers, parameters, and what is said about a wrong one."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from crewstream.analytics.library import (
    Query,
    UnknownQuery,
    Value,
    WrongParameter,
    find,
    parse,
    queries,
    run,
)
from crewstream.errors import Invalid

TEXT = """-- title: T
-- about: A.
-- param hours: UInt32 = 24 -- How long.
-- param who: String = '' -- Who.
SELECT {hours:UInt32}, {who:String}
"""


class Echo:
    """Answers with what it was asked."""

    async def query(
        self, sql: str, parameters: Mapping[str, Value]
    ) -> tuple[str, Mapping[str, Value]]:
        return sql, parameters


@pytest.mark.parametrize("query", queries().values(), ids=list(queries()))
def test_a_query_declares_exactly_the_parameters_that_it_uses(query: Query) -> None:
    used = set(re.findall(r"\{(\w+):(\w+)\}", query.sql))
    assert used == {(p.name, p.type) for p in query.parameters}
    assert query.sql.count("-- param") == len(query.parameters), "a header line is malformed"


def test_the_library_has_what_the_command_line_promises() -> None:
    expected = "agents cost errors overview projects sink_lag stuck tools trend_hour workflows"
    assert set(queries()) >= set(expected.split())


def test_parameters_have_defaults_of_their_type() -> None:
    assert parse("t", TEXT).bound({}) == {"hours": 24, "who": ""}
    assert parse("t", TEXT).bound({"hours": "3", "who": "me"}) == {"hours": 3, "who": "me"}


def test_an_unknown_parameter_is_refused_with_the_known_ones() -> None:
    with pytest.raises(WrongParameter, match="no parameter 'days'; it takes: hours, who"):
        parse("t", TEXT).bound({"days": 1})


@pytest.mark.parametrize("value", ["soon", -1, 2**32])
def test_a_value_of_another_type_is_refused(value: Value) -> None:
    with pytest.raises(WrongParameter, match="hours is"):
        parse("t", TEXT).bound({"hours": value})


def test_an_unknown_query_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownQuery, match=r"no query 'nope'; there are: agents, agents_by_task"):
        find("nope")


@pytest.mark.parametrize("missing", ["title", "about"])
def test_a_file_without_its_header_is_refused(missing: str) -> None:
    with pytest.raises(Invalid, match=f"-- {missing}:"):
        parse("t", TEXT.replace(f"-- {missing}:", "--"))


def test_a_parameter_of_a_type_that_we_cannot_check_is_refused() -> None:
    with pytest.raises(Invalid, match="hours is a Date"):
        parse("t", TEXT.replace("UInt32", "Date"))


async def test_running_binds_the_parameters() -> None:
    sql, parameters = await run("stuck", {"minutes": "5"}, Echo())
    assert sql == find("stuck").sql
    assert parameters == {"minutes": 5}
