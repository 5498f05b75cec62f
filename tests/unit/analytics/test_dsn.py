"""The one connection setting."""

from __future__ import annotations

import pytest

from crewstream.adapters.clickhouse import Dsn
from crewstream.errors import Misconfigured


def test_an_embedded_engine_is_a_folder() -> None:
    dsn = Dsn.parse("chdb:///var/lib/x%20y/data")
    assert (dsn.path, dsn.database) == ("/var/lib/x y/data", "crewstream")


def test_a_server_has_user_password_and_database() -> None:
    dsn = Dsn.parse("https://me:p%40ss@example:9000/mine")
    assert (dsn.path, dsn.database) == (None, "mine")
    assert dsn.options == {
        "host": "example",
        "port": 9000,
        "username": "me",
        "password": "p@ss",
        "secure": True,
    }


@pytest.mark.parametrize(("dsn", "port"), [("http://h", 8123), ("https://h", 8443)])
def test_ports_are_clickhouses_own(dsn: str, port: int) -> None:
    assert Dsn.parse(dsn).options["port"] == port


@pytest.mark.parametrize("dsn", ["", "chdb://relative", "chdb:", "tcp://h:9000", "http://"])
def test_anything_else_is_refused_without_showing_a_password(dsn: str) -> None:
    with pytest.raises(Misconfigured, match="not a ClickHouse address"):
        Dsn.parse(dsn)


def test_the_place_shows_no_password() -> None:
    assert "secret" not in Dsn.parse("http://me:secret@h/d").place
