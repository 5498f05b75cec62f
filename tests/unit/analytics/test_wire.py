"""ClickHouse's HTTP protocol as values."""

from __future__ import annotations

import base64

import pytest

from crewstream.embedded.clickhouse_guard import Denied
from crewstream.embedded.clickhouse_wire import (
    Asked,
    Squeezed,
    User,
    asked,
    decompressed,
    failure,
    user_of,
)

READER = User("default")
WRITER = User("w", "pw", read_only=False)


def ask(body: bytes = b"", method: str = "POST", user: User = WRITER, **query: str) -> Asked:
    found = asked(method, query, {}, body, user)
    assert found
    return found


def test_a_query_is_in_the_body_or_the_address_or_both() -> None:
    assert ask(b"SELECT 1").sql == ask(query="SELECT 1").sql == "SELECT 1"
    assert ask(b"WHERE 1", query="SELECT 1").sql == "SELECT 1\nWHERE 1"


def test_comments_before_and_a_semicolon_after_are_no_part_of_it() -> None:
    found = ask(b"-- one\n /* two */ SELECT 1 ;\n")
    assert found.sql.strip() == "SELECT 1"
    assert found.is_query


@pytest.mark.parametrize(
    ("sql", "fmt"),
    [
        (b"SELECT 1", "TabSeparated"),
        (b"SELECT 1 FORMAT JSON", "JSON"),
        (b"SELECT 1 format CSV settings final = 1", "CSV"),
        (b"SELECT ' FORMAT JSON'", "TabSeparated"),
    ],
)
def test_the_format_is_the_statements_own_word(sql: bytes, fmt: str) -> None:
    assert ask(sql).fmt == fmt


def test_the_format_may_come_by_parameter() -> None:
    assert ask(b"SELECT 1", default_format="JSONCompact").fmt == "JSONCompact"


def test_rows_follow_the_insert_in_the_body() -> None:
    found = ask(b"INSERT INTO `a b` (`x`, y) FORMAT Native\n\x00\x01\n")
    assert found.data == b"\x00\x01\n"
    assert (found.insert_head.strip(), found.fmt) == ("INSERT INTO `a b` (`x`, y)", "Native")


def test_rows_may_be_the_whole_body() -> None:
    found = ask(b'{"a":1}', query="INSERT INTO t FORMAT JSONEachRow")
    assert (found.data, found.insert_head.strip()) == (b'{"a":1}', "INSERT INTO t")


def test_values_in_the_statement_are_no_rows() -> None:
    assert ask(b"INSERT INTO t (a) VALUES ('x FORMAT CSV y')").data is None


def test_parameters_and_settings_are_told_apart_from_the_protocol() -> None:
    found = ask(b"SELECT 1", param_x="1", max_threads="2", session_id="s", query_id="q")
    assert (found.parameters, found.settings) == ({"x": "1"}, {"max_threads": "2"})
    assert found.query_id == "q"


def test_a_get_only_reads() -> None:
    assert ask(method="GET", query="SELECT 1").read_only
    assert not ask(query="SELECT 1").read_only
    assert ask(query="SELECT 1", user=READER).read_only


def test_nothing_asked_is_nothing() -> None:
    assert asked("GET", {}, {}, b"", READER) is None


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ({}, {"X-ClickHouse-User": "w", "X-ClickHouse-Key": "pw"}),
        ({}, {"Authorization": "Basic " + base64.b64encode(b"w:pw").decode()}),
        ({"user": "w", "password": "pw"}, {}),
    ],
)
def test_a_user_says_who_it_is_in_three_ways(
    query: dict[str, str], headers: dict[str, str]
) -> None:
    assert user_of(query, headers, [READER, WRITER]) is WRITER


@pytest.mark.parametrize(
    "headers",
    [
        {"X-ClickHouse-User": "w"},
        {"X-ClickHouse-User": "nobody"},
        {"Authorization": "Basic ???"},
        {"Authorization": "Basic " + base64.b64encode(b"w:wrong").decode()},
    ],
)
def test_a_stranger_is_turned_away(headers: dict[str, str]) -> None:
    with pytest.raises(Denied, match="Code: 516"):
        user_of({}, headers, [READER, WRITER])


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        ("Streaming failed: Code: 60. DB::Exception: no table", 404, "60"),
        ("Code: 497. DB::Exception: no", 403, "497"),
        ("Code: 241. DB::Exception: memory", 500, "241"),
        ("who knows", 500, "1002"),
    ],
)
def test_errors_keep_clickhouses_code(error: str, status: int, code: str) -> None:
    assert failure(RuntimeError(error))[:2] == (status, code)


def test_an_answer_squeezed_piece_by_piece_is_one_stream() -> None:
    squeezed = Squeezed("lz4")
    stream = squeezed.piece(b"one ") + squeezed.piece(b"two") + squeezed.end()
    assert decompressed(stream, {}, {"Content-Encoding": "lz4"}, 1 << 20) == b"one two"


def test_compression_is_only_on_demand() -> None:
    wanted = {"Accept-Encoding": "br, zstd;q=0.5"}
    on = asked("GET", {"query": "SELECT 1", "enable_http_compression": "1"}, wanted, b"", READER)
    off = asked("GET", {"query": "SELECT 1"}, wanted, b"", READER)
    assert on
    assert off
    assert (on.compression, off.compression) == ("zstd", None)
