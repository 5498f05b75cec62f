"""The read-only user of a ClickHouse server: reader.sql with its name and password filled in."""

from __future__ import annotations

import re
from hashlib import sha256
from importlib import resources
from typing import TYPE_CHECKING

from crewstream.analytics.migrations import Migration
from crewstream.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crewstream.analytics.migrations import Place

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


def statements(place: Place, name: str, password: str) -> Sequence[str]:
    """What makes the user, or makes it anew; only the password's hash is in it.

    Raises Misconfigured for a name that is none, or an empty password.
    """
    if not _NAME.fullmatch(name):
        raise Misconfigured(f"{name!r} is no user's name: a-z, 0-9 and _, 63 at most")
    if not password:
        raise Misconfigured(f"the user {name} needs a password: set CLICKHOUSE_READER_PASSWORD")
    text = (resources.files(__package__) / "reader.sql").read_text("utf-8")
    digest = sha256(password.encode()).hexdigest()
    filled = text.replace("{reader}", f"`{name}`").replace("{password_sha256}", digest)
    return Migration("reader", filled).statements(place)
