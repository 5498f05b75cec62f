"""The ready-made questions: finds queries/*.sql, reads their headers, runs them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Protocol, TypeVar

from crewstream.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Answer_co = TypeVar("Answer_co", covariant=True)
Answer = TypeVar("Answer")
Value = str | int | float
_TYPES: Mapping[str, type[str | int | float]] = {
    "String": str,
    "UInt32": int,
    "Float64": float,
}
_PARAMETER = re.compile(
    r"^-- param (\w+): (\w+) = '?(.*?)'?(?: \(([^)]*)\))? -- (.+)$", re.MULTILINE
)
_PLOT = re.compile(r"^-- plot: ([\w ]+): ([\w, ]+)$", re.MULTILINE)


class UnknownQuery(Invalid):
    """There is no ready-made query of that name."""


class WrongParameter(Invalid):
    """A query does not take a parameter, or not with that value."""


class Asks(Protocol[Answer_co]):
    """What runs a query."""

    async def query(self, sql: str, parameters: Mapping[str, Value]) -> Answer_co: ...


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a query: `type` is ClickHouse's, `default` already of it.

    `choices` are the only values that it takes; none: any of its type.
    """

    name: str
    type: str
    default: Value
    about: str
    choices: Sequence[str] = ()

    def value(self, given: Value) -> Value:
        """`given`, often the text of a command line, as a value of our type."""
        try:
            value = _TYPES[self.type](given)
        except ValueError as wrong:
            raise WrongParameter(f"{self.name} is a {self.type}, not {given!r}") from wrong
        if self.type == "UInt32" and not 0 <= int(value) < 2**32:
            raise WrongParameter(f"{self.name} is between 0 and 4294967295, not {given!r}")
        if self.choices and value not in self.choices:
            known = ", ".join(each or "''" for each in self.choices)
            raise WrongParameter(f"{self.name} is one of {known}, not {given!r}")
        return value


@dataclass(frozen=True, slots=True)
class Plot:
    """What to draw of a query: the columns along, and those measured, together by panel."""

    along: Sequence[str]
    panels: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Query:
    """One file of queries/: `name` is its stem; `plot` None: a table says it better."""

    name: str
    title: str
    about: str
    parameters: Sequence[Parameter]
    sql: str
    plot: Plot | None = None

    def bound(self, given: Mapping[str, Value]) -> Mapping[str, Value]:
        """A value for every parameter: as given, else its default.

        Raises WrongParameter for a name that the query does not take, or a value it cannot use.
        """
        known = {parameter.name: parameter for parameter in self.parameters}
        for name in given:
            if name not in known:
                takes = ", ".join(known) or "none"
                raise WrongParameter(f"{self.name} takes no parameter {name!r}; it takes: {takes}")
        return {name: p.value(given.get(name, p.default)) for name, p in known.items()}


def parse(name: str, text: str) -> Query:
    """A query: its header, then its SQL.

    `-- title: …`, `-- about: …`, `-- plot: columns along: columns, columns` where it can be drawn
    (a comma begins another panel), and a line
    `-- param name: Type = default (choice|choice) -- about` for each parameter.
    """
    return Query(
        name=name,
        title=header(name, "title", text),
        about=header(name, "about", text),
        parameters=[_parameter(name, found) for found in _PARAMETER.findall(text)],
        sql=text.strip(),
        plot=_plot(text),
    )


def header(name: str, word: str, text: str) -> str:
    """What a file's header says of `word`. Raises Invalid: nothing."""
    found = re.search(rf"^-- {word}: (.+)$", text, re.MULTILINE)
    if not found:
        raise Invalid(f"{name}.sql has no line '-- {word}: …' in its header")
    return found[1]


def _plot(text: str) -> Plot | None:
    found = _PLOT.search(text)
    if not found:
        return None
    return Plot(tuple(found[1].split()), [tuple(each.split()) for each in found[2].split(",")])


def _parameter(query: str, found: Sequence[str]) -> Parameter:
    name, kind, default, choices, about = found
    if kind not in _TYPES:
        raise Invalid(f"{query}.sql: {name} is a {kind}; known are {', '.join(_TYPES)}")
    known = tuple(choices.split("|")) if choices else ()
    return Parameter(name, kind, _TYPES[kind](default), about, known)


@cache
def queries() -> Mapping[str, Query]:
    """Every ready-made query by name."""
    return {name: parse(name, text) for name, text in files("queries").items()}


def files(folder: str) -> Mapping[str, str]:
    """The .sql files of a folder beside this module: name without ending -> text, by name."""
    found = (resources.files(__package__) / folder).iterdir()
    return {
        file.name.removesuffix(".sql"): file.read_text("utf-8")
        for file in sorted(found, key=lambda file: file.name)
        if file.name.endswith(".sql")
    }


def find(name: str) -> Query:
    """The query of that name; raises UnknownQuery with the names that there are."""
    try:
        return queries()[name]
    except KeyError:
        raise UnknownQuery(f"no query {name!r}; there are: {', '.join(queries())}") from None


async def run(name: str, given: Mapping[str, Value], on: Asks[Answer]) -> Answer:
    """Run the query `name` with the parameters `given` on a ClickHouse."""
    query = find(name)
    return await on.query(query.sql, query.bound(given))
