"""How long one waits before anything runs: the client's import, the embedded Kafka."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.figures import Figure, at_most, median

from crewstream.config import cache_home
from crewstream.embedded.kafka import EmbeddedKafka, prepare

IMPORT = """
import time
began = time.perf_counter()
from crewstream import Client
print(time.perf_counter() - began)
"""


def figures(rounds: int = 3) -> Sequence[Figure]:
    """Files are in the page cache, jars and class archive made: a warm start, not the first one."""
    prepare(cache_home())
    imports = [_import_s() for _ in range(5)]
    kafka = [_kafka_s() for _ in range(rounds)]
    return [
        Figure("starts", "import of the client, best of 5", min(imports), "s", at_most(0.5)),
        Figure("starts", "embedded Kafka ready", median(kafka), "s", at_most(3.0)),
    ]


def _import_s() -> float:
    command = [sys.executable, "-c", IMPORT]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - ours
    return float(done.stdout)


def _kafka_s() -> float:
    with tempfile.TemporaryDirectory(prefix="crewstream-bench-") as folder:
        kafka = EmbeddedKafka(Path(folder), cache_dir=cache_home())
        began_s = time.perf_counter()
        kafka.start()
        took_s = time.perf_counter() - began_s
        kafka.stop()
    return took_s
