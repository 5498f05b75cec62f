"""How much of the machine, or of our share of it, is in use: processors and memory.

A container's share is its control group's, version 2 (docs.kernel.org/admin-guide/cgroup-v2.html:
cpu.max, cpu.stat, memory.max, memory.current, memory.stat) or 1; without one it is the machine.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

SMOOTHING: Final = 0.3
"""Weight of the latest look in what is told of the processors: one look sees a moment."""

_UNLIMITED: Final = 1 << 60
"""Version 1 says "no limit" by a number of about this size."""


@dataclass(frozen=True, slots=True)
class Use:
    """Parts of what there is, 0 to 1. `memory_bytes` in use, of `memory_limit_bytes`."""

    cpu: float
    memory: float
    memory_bytes: int
    memory_limit_bytes: int


class Machine:
    """What this process may use. Looked at every few seconds: the first look finds no processor.

    `cgroup` is where control groups are mounted, `proc` what tells which one is ours.
    """

    def __init__(
        self, cgroup: Path = Path("/sys/fs/cgroup"), proc: Path = Path("/proc/self/cgroup")
    ) -> None:
        self._groups = list(_groups(cgroup, proc))
        self._quota = min(filter(None, map(_quota, self._groups)), default=None)
        self._cpu = 0.0
        self._seen_s, self._used_s = time.monotonic(), self._cpu_s()
        psutil.cpu_percent()

    @property
    def cores(self) -> int:
        """Processors that work at once for us, at least 1."""
        there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        allowed = there or 1
        return max(1, min(allowed, math.ceil(self._quota or allowed)))

    def look(self) -> Use:
        """What is in use now; processors since the last look, smoothed."""
        self._cpu += SMOOTHING * (min(1.0, self._busy()) - self._cpu)
        used, limit = self._memory()
        return Use(self._cpu, used / limit if limit else 0.0, used, limit)

    def _busy(self) -> float:
        if self._quota is None:
            return float(psutil.cpu_percent()) / 100
        now_s, used_s = time.monotonic(), self._cpu_s()
        passed_s, worked_s = now_s - self._seen_s, used_s - self._used_s
        self._seen_s, self._used_s = now_s, used_s
        return worked_s / passed_s / self._quota if passed_s > 0 else 0.0

    def _cpu_s(self) -> float:
        return next((used for group in self._groups if (used := _cpu_s(group)) is not None), 0.0)

    def _memory(self) -> tuple[int, int]:
        """The group that is nearest to its limit, or the machine."""
        whole = psutil.virtual_memory()
        found = [(whole.total - whole.available, whole.total)]
        found += [pair for group in self._groups if (pair := _memory(group)) is not None]
        return max(found, key=lambda pair: pair[0] / pair[1])


def _groups(cgroup: Path, proc: Path) -> Iterator[Path]:
    """The folders of our group and those that it is in, as far as they can be seen from here."""
    for line in _text(proc).splitlines():
        _, controllers, path = line.split(":", 2)
        wanted = set(controllers.split(",")) & {"memory", "cpu", "cpuacct", ""}
        for name in sorted(wanted):
            root = cgroup / name if name else cgroup
            folder = root / path.lstrip("/")
            # A container sees its own group as the root, though it is told another path.
            for one in (folder, *folder.parents):
                if one.is_relative_to(root) and one.is_dir():
                    yield one


def _quota(group: Path) -> float | None:
    """Processors that a group may use at once; None: as many as there are."""
    new = _text(group / "cpu.max").split()
    old = _number(group / "cpu.cfs_quota_us")
    if new and new[0] != "max":
        return int(new[0]) / int(new[1])
    if old is not None and old > 0:
        return old / (_number(group / "cpu.cfs_period_us") or 100_000)
    return None


def _cpu_s(group: Path) -> float | None:
    """Seconds that processors have worked for a group."""
    micros = _field(group / "cpu.stat", "usage_usec")
    if micros is not None:
        return micros / 1e6
    nanos = _number(group / "cpuacct.usage")
    return None if nanos is None else nanos / 1e9


def _memory(group: Path) -> tuple[int, int] | None:
    """Bytes in use and their limit; None: no limit. What can be dropped is not counted."""
    limit = _number(group / "memory.max")
    used = _number(group / "memory.current")
    inactive = "inactive_file"
    if limit is None:
        limit = _number(group / "memory.limit_in_bytes")
        used = _number(group / "memory.usage_in_bytes")
        inactive = "total_inactive_file"
    if not limit or limit > _UNLIMITED or used is None:
        return None
    return max(0, used - (_field(group / "memory.stat", inactive) or 0)), limit


def _field(path: Path, name: str) -> int | None:
    rows = (line.split() for line in _text(path).splitlines())
    return next((int(row[1]) for row in rows if len(row) == 2 and row[0] == name), None)  # noqa: PLR2004 - name and value


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.lstrip("-").isdecimal() else None


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except OSError:
        return ""
