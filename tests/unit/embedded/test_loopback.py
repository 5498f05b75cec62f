"""Ports on this machine."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from crewstream.embedded.loopback import FIRST, LAST, free_port, require_free
from crewstream.errors import StartFailed


def test_a_free_port_is_none_that_the_system_gives_to_outgoing_connections() -> None:
    ranges = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if not ranges.exists():
        pytest.skip("only Linux says which these are")
    outgoing = range(*map(int, ranges.read_text().split()))
    assert FIRST <= free_port() <= LAST
    assert outgoing.start > LAST


def test_a_port_in_use_is_refused_with_its_server_and_number() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            StartFailed, match=rf"Kafka cannot listen on 127\.0\.0\.1:{port}.*in use"
        ):
            require_free(port, "Kafka")
    require_free(port, "Kafka")
