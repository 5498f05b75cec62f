"""The values that tell a process how to run on Kafka."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from crewstream.errors import Misconfigured

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """One process on Kafka: its group, its limits, its folder.

    `window` bounds the open records of one partition, `total_window` those of the process, and
    `total_bytes` their size; one fetch may go beyond that. See `Consumer.takeable`.
    `datadir` holds the rows of a coordinator when `store` is "rocksdict"; processes may share it.
    """

    app_id: str
    partitions: int
    datadir: Path
    store: Literal["rocksdict", "memory"] = "rocksdict"
    session_timeout_s: float = 10.0
    commit_interval_s: float = 0.5
    request_timeout_s: float = 30.0
    settle_timeout_s: float = 10.0
    drain_grace_s: float = 20.0
    fetch_max_wait_ms: int = 100
    batch_records: int = 500
    window: int = 512
    total_window: int = 4096
    total_bytes: int = 64 * MEBIBYTE
    linger_ms: int = 0
    compression: Literal["gzip", "snappy", "lz4", "zstd"] | None = "lz4"
    max_record_bytes: int = 8 * MEBIBYTE

    def __post_init__(self) -> None:
        # A commit proves membership; the fence needs several within one session.
        if self.commit_interval_s > self.session_timeout_s / 4:
            raise Misconfigured(
                f"commit_interval_s {self.commit_interval_s} is too long for session_timeout_s "
                f"{self.session_timeout_s}: at most a quarter of it"
            )
        counts = self.partitions, self.batch_records, self.window, self.total_window
        if min(*counts, self.total_bytes) < 1:
            raise Misconfigured(
                "partitions, batch_records, window, total_window, total_bytes are at least 1"
            )
