"""The rows held on this machine: what Kafka confirmed of a changelog, and up to which offset.

A row gets here only after its changelog record is confirmed, together with that record's offset in
one atomic write. So after any crash the rows are exactly those of the changelog up to `position`,
and a warm start needs to read only what came after. (Faust's own stores write the row first: after
a crash such a row can be ahead of its changelog for ever.)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Protocol

from faust.types import TP
from rocksdict import Options, Rdict, WriteBatch

NOTHING = -1
"""The position of a partition of which nothing is held."""
WARM_FOR_S = 12 * 3600
"""Well below delete.retention.ms (a day): later, the tombstones of rows held here may be gone."""


class LocalRows(Protocol):
    """Rows by changelog partition and key; used from the event loop only."""

    def position(self, tp: TP) -> int:
        """The offset of the last changelog record that the rows reflect, or NOTHING."""
        ...

    def age_s(self, tp: TP) -> float:
        """Seconds since the partition was last written."""
        ...

    def get(self, tp: TP, key: bytes) -> bytes | None: ...

    def write(self, tp: TP, rows: Mapping[bytes, bytes | None], position: int) -> None:
        """Put the rows (None deletes) and the position, all or nothing."""
        ...

    def keys(self, tp: TP) -> Iterator[bytes]: ...

    def wipe(self, tp: TP) -> None:
        """Forget a partition: it is read anew from Kafka."""
        ...

    def close(self) -> None: ...


class MemoryRows:
    """Rows in dictionaries: gone with the process."""

    def __init__(self) -> None:
        self._rows: dict[TP, dict[bytes, bytes]] = {}
        self._positions: dict[TP, int] = {}

    def position(self, tp: TP) -> int:
        return self._positions.get(tp, NOTHING)

    def age_s(self, tp: TP) -> float:  # noqa: ARG002
        # A process that is alive but out of the group for hours is restarted by its watchdog.
        return 0.0

    def get(self, tp: TP, key: bytes) -> bytes | None:
        return self._rows.get(tp, {}).get(key)

    def write(self, tp: TP, rows: Mapping[bytes, bytes | None], position: int) -> None:
        held = self._rows.setdefault(tp, {})
        for key, value in rows.items():
            if value is None:
                held.pop(key, None)
            else:
                held[key] = value
        self._positions[tp] = position

    def keys(self, tp: TP) -> Iterator[bytes]:
        yield from list(self._rows.get(tp, ()))

    def wipe(self, tp: TP) -> None:
        self._rows.pop(tp, None)
        self._positions.pop(tp, None)

    def close(self) -> None:
        """Nothing to close."""


class RocksRows:
    """Rows in one RocksDB below `path`, which no other process may have open.

    Its log is written with each batch, so rows survive SIGKILL; a machine that crashes may lose
    the last ones together with their position, which is as good as never written.
    """

    def __init__(self, path: Path, *, now_s: Callable[[], float] = time.time) -> None:
        self._now_s = now_s
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_write_buffer_size(16 * 1024 * 1024)
        options.set_keep_log_file_num(2)
        self._db = Rdict(str(path), options=options)

    def position(self, tp: TP) -> int:
        return self._mark(tp)[0]

    def age_s(self, tp: TP) -> float:
        return self._now_s() - self._mark(tp)[1]

    def get(self, tp: TP, key: bytes) -> bytes | None:
        value: bytes | None = self._db.get(_row(tp) + key)
        return value

    def write(self, tp: TP, rows: Mapping[bytes, bytes | None], position: int) -> None:
        batch, prefix = WriteBatch(raw_mode=True), _row(tp)
        for key, value in rows.items():
            if value is None:
                batch.delete(prefix + key)
            else:
                batch.put(prefix + key, value)
        batch.put(_mark(tp), b"%d %d" % (position, int(self._now_s())))
        self._db.write(batch)

    def keys(self, tp: TP) -> Iterator[bytes]:
        """A snapshot: rows written meanwhile may be missing, deleted ones may appear."""
        prefix = _row(tp)
        for key in self._db.keys(from_key=prefix):
            if not (isinstance(key, bytes) and key.startswith(prefix)):
                return
            yield key[len(prefix) :]

    def wipe(self, tp: TP) -> None:
        batch = WriteBatch(raw_mode=True)
        for key in self.keys(tp):
            batch.delete(_row(tp) + key)
        batch.delete(_mark(tp))
        self._db.write(batch)

    def close(self) -> None:
        self._db.close()

    def _mark(self, tp: TP) -> tuple[int, float]:
        mark = self._db.get(_mark(tp))
        if mark is None:
            return NOTHING, 0.0
        position, at_s = mark.split()
        return int(position), float(at_s)


@cache  # a few a partition; asked for at each read and write
def _row(tp: TP) -> bytes:
    return b"row\0%b\0%d\0" % (tp.topic.encode(), tp.partition)


@cache
def _mark(tp: TP) -> bytes:
    return b"mark\0%b\0%d" % (tp.topic.encode(), tp.partition)
