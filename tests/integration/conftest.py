"""Real servers for integration tests: started once a session, or the ones that are pointed at.

CREWSTREAM_TEST_BROKERS (host:port) and CREWSTREAM_TEST_REDIS (a URL) name running servers.
"""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING

import pytest

from crewstream.embedded.kafka import EmbeddedKafka
from crewstream.embedded.valkey import EmbeddedValkey
from support.servers import Brokers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def kafka(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Brokers]:
    if running := os.environ.get("CREWSTREAM_TEST_BROKERS"):
        yield Brokers(running)
        return
    cache: Path = request.getfixturevalue("cache_dir")
    with EmbeddedKafka(tmp_path_factory.mktemp("kafka"), cache_dir=cache) as broker:
        yield Brokers(broker.bootstrap)


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a running Redis or Valkey."""
    if running := os.environ.get("CREWSTREAM_TEST_REDIS"):
        yield running
        return
    with EmbeddedValkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server.url


@pytest.fixture
def topic_prefix() -> str:
    """Begins the names of a test's topics and groups: the broker is everybody's."""
    return f"t{uuid.uuid4().hex[:8]}."
