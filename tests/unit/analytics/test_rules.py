"""Rules as files: their headers, the queries in them, and one that cannot be run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from crewstream.adapters.clickhouse import Refused, Result
from crewstream.analytics import library
from crewstream.analytics.library import UnknownQuery, Value
from crewstream.analytics.rules import Rule, findings, parse, rules
from crewstream.contracts.events import AdviceKind
from crewstream.errors import Unreachable

TEXT = """-- title: T
-- about: A.
-- kind: anomaly
-- query: stuck
-- param minutes: UInt32 = 7 -- Longer.
SELECT 1 FROM {query:stuck}
"""


@pytest.mark.parametrize("rule", rules().values(), ids=list(rules()))
def test_a_rule_says_what_it_looks_at_and_where_to_see_more(rule: Rule) -> None:
    assert rule.kind in set(AdviceKind)
    assert rule.behind.name in library.queries()
    assert all(f"{{{name}:" in rule.sql for name in rule.parameters)
    assert "{query:" not in rule.sql
    for column in ("severity", "tenant_id", "subject", "about", "action", "evidence"):
        assert column in rule.sql


def test_a_query_in_a_rule_has_its_defaults_unless_the_rule_says_otherwise() -> None:
    found = parse("t", TEXT)
    assert library.find("stuck").sql in found.sql
    assert found.parameters == {"minutes": 7}
    silent = parse("t", TEXT.replace("-- param minutes", "-- minutes"))
    assert silent.parameters == {"minutes": 30}


def test_a_query_that_there_is_not_is_refused() -> None:
    with pytest.raises(UnknownQuery, match="no query 'nope'"):
        parse("t", TEXT.replace("{query:stuck}", "{query:nope}"))


class Database:
    """Answers with one finding, refuses what has `refused` in it, or is away."""

    def __init__(self, refused: str = "", *, away: bool = False) -> None:
        self._refused, self._away = refused, away

    async def query(self, sql: str, parameters: Mapping[str, Value]) -> Result:
        assert all(f"{{{name}:" in sql for name in parameters)
        if self._away:
            raise Unreachable
        if self._refused and self._refused in sql:
            raise Refused("no")
        columns = ("severity", "tenant_id", "project_id", "subject", "about", "action", "evidence")
        row: Sequence[Any] = ("info", "", "p", "s", "is so", "do it", {"n": "1"})
        return Result(columns, [tuple(row)])


async def test_every_row_is_a_finding_of_its_rule() -> None:
    found = await findings(Database())
    assert [each.rule for each in found.findings] == list(rules())
    assert {each.subject for each in found.findings} == {"s"}


async def test_a_rule_that_is_refused_is_left_out_and_the_others_run() -> None:
    found = await findings(Database("v_dead_letters"))
    assert found.ran == set(rules()) - {"dead_letters"}


async def test_a_database_that_is_away_is_no_finding() -> None:
    with pytest.raises(Unreachable):
        await findings(Database(away=True))
