"""What a read-only user may ask of the embedded engine: judged on the engine's own parse of it.

The engine's `readonly=1` refuses writes, changed settings and most ways out of the database. What
it lets through is refused here: a second statement, files, limits raised in a subquery, tables of
the engine's own that show what others ask.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from crewstream.errors import CrewstreamError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

LIMITS: Mapping[str, int] = {
    "max_execution_time": 30,  # seconds
    "max_memory_usage": 1_000_000_000,  # bytes
    "max_threads": 4,
}
"""What one query may use; a reader may ask for less."""

READING: Mapping[str, str] = {"final": "1", "do_not_merge_across_partitions_select_final": "1"}
"""So that a plain SELECT shows no row twice."""

_FREE = frozenset(
    {
        "async_insert",  # JDBC sends it with every query; a reader inserts nothing
        "date_time_output_format",
        "extremes",
        "join_use_nulls",
        "limit",
        "max_block_size",
        "max_result_bytes",
        "max_result_rows",
        "max_rows_to_read",
        "offset",
        "result_overflow_mode",
        "session_timezone",
    }
)
# How an answer is written. Not all of output_format_*: output_format_schema writes a file.
_WRITING = re.compile(r"output_format_(arrow|csv|decimal|json|native|parquet|pretty|tsv)_\w+")
_STATEMENTS = ("SelectWithUnionQuery", "SelectIntersectExcept", "Describe", "Show", "Explain ")
_OTHERS_QUERIES = "ShowProcesslist"
# Table functions that reach nothing but what is in the query; merge finds tables by a pattern.
TABLE_FUNCTIONS = frozenset(
    {
        "format",
        "generateseries",
        "generate_series",
        "null",
        "numbers",
        "numbers_mt",
        "values",
        "view",
        "viewifpermitted",
        "zeros",
        "zeros_mt",
    }
)
# What clients and Grafana ask to find their way; the others show queries, users, hosts, secrets.
SYSTEM_TABLES = frozenset(
    {
        "aggregate_function_combinators",
        "asynchronous_metrics",
        "build_options",
        "clusters",
        "codecs",
        "collations",
        "columns",
        "completions",
        "contributors",
        "data_skipping_indices",
        "data_type_families",
        "database_engines",
        "databases",
        "detached_parts",
        "dictionaries",
        "disks",
        "events",
        "formats",
        "functions",
        "keywords",
        "licenses",
        "macros",
        "merge_tree_settings",
        "merges",
        "metrics",
        "mutations",
        "numbers",
        "numbers_mt",
        "one",
        "parts",
        "parts_columns",
        "projections",
        "replicas",
        "settings",
        "table_engines",
        "table_functions",
        "tables",
        "time_zones",
        "view_refreshes",
        "zeros",
        "zeros_mt",
    }
)
# The last three name a table by a text, which is not seen below.
_OUTSIDE = re.compile(
    r"file|catboostevaluate|ai[a-z]+|sleep\w*|getclienthttpheader"
    r"|hascolumnintable|joinget|joingetornull"
)
_FUNCTION = re.compile(r"^ *Function (\S+)", re.MULTILINE)
# As a table, or as `x IN table`, where it looks like a column.
_NAMED = re.compile(r"^ *(?:Table)?Identifier (system|default)\.([^\s.]+)", re.MULTILINE)
_INNER_SETTINGS = re.compile(r"^ {4,}Set$", re.MULTILINE)
_LITERAL = re.compile(r"'(?:[^'\\]|\\.)*'", re.DOTALL)


class Denied(CrewstreamError):
    """ClickHouse's answer to what is not allowed, in its own words; `code` is its error code."""

    def __init__(self, code: int, name: str, message: str) -> None:
        super().__init__(f"Code: {code}. DB::Exception: {message}. ({name})")
        self.code = code


def without_literals(sql: str) -> str:
    """`sql` with every string in it emptied, to look for words."""
    return _LITERAL.sub("''", sql)


def check(formatted: str, tree: str, table_functions: Collection[str]) -> None:
    """Raise Denied unless the statement only reads, and only from the database.

    `formatted` is the engine's formatQuerySingleLine of it, which takes no second statement;
    `tree` its EXPLAIN AST, parameters filled in; `table_functions` the lower-case names that the
    engine knows.
    """
    if not tree.startswith(_STATEMENTS):
        raise Denied(164, "READONLY", "Only queries that read are allowed")
    if re.search(r"\bINTO OUTFILE\b", without_literals(formatted)):
        raise Denied(497, "ACCESS_DENIED", "INTO OUTFILE is not allowed")
    if _INNER_SETTINGS.search(tree):
        raise Denied(164, "READONLY", "SETTINGS in a subquery are not allowed")
    used = {name.lower() for name in _FUNCTION.findall(tree)}
    forbidden = (used & set(table_functions)) - TABLE_FUNCTIONS
    forbidden |= {name for name in used if _OUTSIDE.fullmatch(name)}
    forbidden |= {f"{where}.{name}" for where, name in _NAMED.findall(tree) if _hidden(where, name)}
    if tree.startswith(_OTHERS_QUERIES):
        forbidden.add("processlist")
    if forbidden:
        raise Denied(497, "ACCESS_DENIED", f"Not allowed: {', '.join(sorted(forbidden))}")


def _hidden(database: str, table: str) -> bool:
    """The engine's `default` database takes the name of any file for a table."""
    return database == "default" or table not in SYSTEM_TABLES


def check_database(name: str) -> None:
    """Raise Denied for a current database in which tables could be named without saying so."""
    if name == "system":
        raise Denied(497, "ACCESS_DENIED", "Write system.table; system is no current database here")


def reader_settings(asked: Mapping[str, str]) -> Mapping[str, str]:
    """The settings of a reader's query: what it asked for, within the limits.

    Raises Denied for a setting that is not a reader's to choose.
    """
    for name, value in asked.items():
        if not (name in LIMITS or _is_free(name) or READING.get(name) == value):
            raise Denied(164, "READONLY", f"Cannot modify '{name}' setting in readonly mode")
    limits = {name: str(_capped(asked.get(name, ""), most)) for name, most in LIMITS.items()}
    free = {name: value for name, value in asked.items() if _is_free(name)}
    return {**READING, **free, **limits}


def _is_free(name: str) -> bool:
    return name in _FREE or _WRITING.fullmatch(name) is not None


def _capped(value: str, most: int) -> int:
    """`value` if it is a limit below `most`; ClickHouse's 0 means none."""
    return min(int(value) or most, most) if value.isdecimal() else most
