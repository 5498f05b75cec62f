"""The read-only user of a server."""

from __future__ import annotations

from hashlib import sha256

import pytest

from crewstream.analytics.migrations import Place
from crewstream.analytics.reader import statements
from crewstream.errors import Misconfigured


def test_the_user_reads_one_database_and_nothing_else() -> None:
    profile, user, grant = statements(Place("d", "main"), "analyst", "secret")
    assert "readonly = 2 CONST" in profile
    assert sha256(b"secret").hexdigest() in user
    assert "secret" not in profile + user.replace(sha256(b"secret").hexdigest(), "") + grant
    assert grant == "GRANT ON CLUSTER 'main' SELECT ON `d`.* TO `analyst`"


@pytest.mark.parametrize(("name", "password"), [("a; DROP", "x"), ("", "x"), ("a", "")])
def test_no_name_or_no_password_is_refused(name: str, password: str) -> None:
    with pytest.raises(Misconfigured):
        statements(Place("d"), name, password)
