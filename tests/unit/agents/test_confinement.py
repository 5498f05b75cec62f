"""What a confined process cannot do; each in a process of its own, as it cannot be undone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from crewstream_agents.confinement import supported

pytestmark = pytest.mark.skipif(not supported(), reason="this kernel has no Landlock")

AGENTS = Path(__file__).parents[3] / "agents"
BEGIN = f"""
import ctypes, os, subprocess, sys, threading
sys.path.insert(0, {str(AGENTS)!r})
from crewstream_agents.confinement import confine, hide
inside, outside = sys.argv[1:]
def refused(act):
    try:
        act()
    except OSError as error:
        return type(error).__name__
"""


def confined(code: str, tmp_path: Path) -> str:
    """What such a process says; it may write below `inside` only."""
    for name in ("inside", "outside"):
        (tmp_path / name).mkdir()
    (tmp_path / "outside" / "there").write_text("as it was")
    script = BEGIN + "assert confine([inside, '/dev', '/not/there'])\n" + code
    command = [sys.executable, "-c", script, str(tmp_path / "inside"), str(tmp_path / "outside")]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_it_writes_inside_and_reads_everywhere(tmp_path: Path) -> None:
    code = """
open(inside + "/a", "w").write("x")
os.mkdir(inside + "/b")
os.rename(inside + "/a", inside + "/b/a")
open("/dev/null", "w").write("x")
print(open(outside + "/there").read())
"""
    assert confined(code, tmp_path) == "as it was\n"


def test_it_cannot_write_anywhere_else_nor_can_what_it_starts(tmp_path: Path) -> None:
    code = """
new, there = outside + "/new", outside + "/there"
print(refused(lambda: open(new, "w")), refused(lambda: open(there, "a")))
print(refused(lambda: os.truncate(there, 0)), refused(lambda: os.remove(there)))
print(refused(lambda: os.mkdir(new)), refused(lambda: os.symlink("/", new)))
said = []
thread = threading.Thread(target=lambda: said.append(refused(lambda: open(new, "w"))))
thread.start(); thread.join()
print(*said, subprocess.run(["sh", "-c", f"echo x > {new}"], stderr=subprocess.DEVNULL).returncode)
"""
    lines = confined(code, tmp_path).splitlines()

    assert lines[:3] == ["PermissionError PermissionError"] * 3
    assert lines[3].split()[0] == "PermissionError"
    assert lines[3].split()[1] != "0"
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["there"]
    assert (tmp_path / "outside" / "there").read_text() == "as it was"


def test_it_cannot_reach_into_the_process_that_started_it(tmp_path: Path) -> None:
    code = 'print(refused(lambda: open(f"/proc/{os.getppid()}/mem", "rb")))'

    assert confined(code, tmp_path) == "PermissionError\n"


def test_a_hidden_process_is_no_business_of_others_of_its_user(tmp_path: Path) -> None:
    get = "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"

    assert confined(f"{get}; hide(); {get}", tmp_path) == "1\n0\n"
