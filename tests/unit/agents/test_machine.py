"""What is in use of what a control group, or the machine, has."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from crewstream_agents.machine import Machine


def group(root: Path, **files: str) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (root / name.replace("__", ".")).write_text(text)


def told(tmp_path: Path, line: str) -> Path:
    path = tmp_path / "told"
    path.write_text(line)
    return path


def test_the_nearest_limit_of_the_groups_that_we_are_in_counts(tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    group(root)
    group(
        root / "pod",
        memory__max="1000",
        memory__current="900",
        memory__stat="anon 5\ninactive_file 100\n",
        cpu__max="150000 100000",
    )
    group(root / "pod" / "box", memory__max="max", memory__current="900", cpu__max="max 100000")

    machine = Machine(root, told(tmp_path, "0::/pod/box\n"))
    use = machine.look()

    assert (use.memory_bytes, use.memory_limit_bytes, use.memory) == (800, 1000, 0.8)
    assert machine.cores == min(2, psutil.cpu_count() or 1)


def test_processors_are_counted_in_our_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("crewstream_agents.machine.time.monotonic", lambda: now[0])
    root = tmp_path / "cgroup"
    group(root, cpu__max="50000 100000", cpu__stat="usage_usec 1000000\n")
    machine = Machine(root, told(tmp_path, "0::/\n"))

    seen = []
    for look in range(1, 30):
        now[0] += 10
        # 2 s of work in 10 s, where half a processor is ours: 40 %.
        group(root, cpu__stat=f"usage_usec {1_000_000 + look * 2_000_000}\n")
        seen.append(machine.look().cpu)

    assert seen == sorted(seen)
    assert seen[0] < 0.2
    assert seen[-1] == pytest.approx(0.4, abs=0.001)


def test_groups_of_the_first_version_are_read_as_well(tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    group(
        root / "memory" / "box",
        memory__limit_in_bytes="2000",
        memory__usage_in_bytes="1900",
        memory__stat="total_inactive_file 100\n",
    )
    group(root / "cpu" / "box", cpu__cfs_quota_us="100000", cpu__cfs_period_us="100000")

    machine = Machine(root, told(tmp_path, "4:memory:/box\n1:cpu:/box\n2:cpuacct:/\n"))

    assert (machine.look().memory, machine.cores) == (0.9, 1)


def test_a_container_sees_its_group_as_the_root(tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    group(root, memory__max="1000", memory__current="990")

    assert Machine(root, told(tmp_path, "0::/../../elsewhere\n")).look().memory == 0.99


def test_without_a_group_the_machine_is_looked_at(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "none", tmp_path / "neither")
    use = machine.look()

    assert use.memory_limit_bytes == psutil.virtual_memory().total
    assert 0 < use.memory < 1
    assert 0 <= use.cpu <= 1
    assert machine.cores >= 1
