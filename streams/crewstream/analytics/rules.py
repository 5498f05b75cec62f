"""The rules that advise: finds rules/*.sql, puts ready-made queries into them, runs them."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from crewstream.analytics import library
from crewstream.analytics.advice import COLUMNS, Advice, Finding
from crewstream.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from crewstream.analytics.library import Query, Value

_EMBEDDED = re.compile(r"\{query:(\w+)\}")
_log = logging.getLogger(__name__)


class Rows(Protocol):
    """What a query answers with."""

    @property
    def columns(self) -> Sequence[str]: ...

    @property
    def rows(self) -> Sequence[Sequence[Any]]: ...


class Database(Protocol):
    """What rules are run on."""

    async def query(self, sql: str, parameters: Mapping[str, Value]) -> Rows: ...


@dataclass(frozen=True, slots=True)
class Rule:
    """One file of rules/: its rows are findings; `behind` is the query that shows more."""

    name: str
    title: str
    about: str
    kind: str
    behind: Query
    sql: str
    parameters: Mapping[str, Value]

    def finding(self, columns: Sequence[str], row: Sequence[Any]) -> Finding:
        """The finding of one row."""
        told = dict(zip(columns, row, strict=True))
        return Finding(rule=self.name, kind=self.kind, query=self.behind.name, **told)


def parse(name: str, text: str) -> Rule:
    """A rule: a header as a query has, with `-- kind:` and `-- query:`, then its SQL.

    `{query:NAME}` in it stands for that ready-made query, with its defaults unless the rule's own
    parameters say otherwise.
    """
    own = library.parse(name, text)
    inner = [library.find(each) for each in _EMBEDDED.findall(own.sql)]
    values = {p.name: p.default for query in inner for p in query.parameters}
    return Rule(
        name=name,
        title=own.title,
        about=own.about,
        kind=library.header(name, "kind", text),
        behind=library.find(library.header(name, "query", text)),
        sql=_EMBEDDED.sub(lambda match: f"(\n{library.find(match[1]).sql}\n)", own.sql),
        parameters=values | {p.name: p.default for p in own.parameters},
    )


@cache
def rules() -> Mapping[str, Rule]:
    """Every rule by name."""
    return {name: parse(name, text) for name, text in library.files("rules").items()}


@dataclass(frozen=True, slots=True)
class Found:
    """What was found, and the names of the rules that could be run."""

    findings: Sequence[Finding]
    ran: frozenset[str]


async def findings(on: Database) -> Found:
    """Run every rule; one that ClickHouse refuses is told of and left out.

    Raises Transient when ClickHouse is away.
    """
    found: list[Finding] = []
    ran: set[str] = set()
    for rule in rules().values():
        try:
            answer = await on.query(rule.sql, rule.parameters)
        except Invalid:
            _log.exception("the rule %s could not be run", rule.name)
            continue
        found += (rule.finding(answer.columns, row) for row in answer.rows)
        ran.add(rule.name)
    return Found(found, frozenset(ran))


async def open_advice(on: Database) -> Sequence[Advice]:
    """The advice that was open when it was last recorded."""
    sql = f"SELECT {', '.join(COLUMNS)} FROM v_recommendations WHERE status = 'open'"  # noqa: S608 - our own names
    return [Advice.of_row(row) for row in (await on.query(sql, {})).rows]
