"""A folder of rows for each process of an app on this machine, found again after a restart."""

from __future__ import annotations

import fcntl
import itertools
import os
from pathlib import Path


class Slot:
    """A folder `slot-0`, `slot-1`… that is ours until the process ends, however it ends."""

    def __init__(self, root: Path) -> None:
        """Take the first folder below `root` that no living process holds."""
        for number in itertools.count():
            self.path = root / f"slot-{number}"
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.path / "lock", os.O_CREAT | os.O_RDWR, 0o600)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(self._lock)
            else:
                return

    def release(self) -> None:
        os.close(self._lock)
